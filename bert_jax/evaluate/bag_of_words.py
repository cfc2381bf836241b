"""A baseline that knows words but not their order: a linear model on TF-IDF."""

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from bert_jax.evaluate import metrics
from bert_jax.tasks.task import Split, Task


def bag_of_words(task: Task, train: Split, evaluation: Split) -> dict[str, float] | None:
    """Fit the baseline on the training rows and score it by the task's metrics; None if no row has a word.

    Words and pairs of adjacent words, lowercased; two texts are combined as a probe combines two vectors: [|u-v|, u*v],
    and [u, v, |u-v|, u*v] if their order matters. Logistic regression for classes, ridge regression for scores, both
    with scikit-learn's default penalty.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\S+")
    try:
        vectorizer.fit([*train.a, *(train.b or ())])
    except ValueError:  # no words
        return None
    x, y = (_features(vectorizer, split, task.directed) for split in (train, evaluation))
    model: Any = Ridge() if task.is_regression else LogisticRegression(max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model.fit(x, train.gold).predict(y)
    return metrics.score(task, found.astype(train.gold.dtype), evaluation.gold)


def _features(vectorizer: TfidfVectorizer, split: Split, directed: bool) -> Any:
    u = vectorizer.transform(split.a)
    if split.b is None:
        return u
    v = vectorizer.transform(split.b)
    return sparse.hstack([*((u, v) if directed else ()), np.abs(u - v), u.multiply(v)], format="csr")
