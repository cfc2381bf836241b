"""The head for relatedness beside a plain loop in torch from the same first weights and the same order of the rows."""

import numpy as np
import pytest
import torch

from bert_jax.evaluate import relatedness
from bert_jax.evaluate.metrics import pearson
from bert_jax.evaluate.relatedness import predict_relatedness, targets

RNG = np.random.default_rng(3)
X = RNG.normal(size=(330, 8)).astype(np.float32)
SCORES = np.clip(3 + X[:, 0] + X[:, 1] * X[:, 2] / 3 + 0.3 * RNG.normal(size=330), 1, 5)
TRAIN, HELD, TEST = range(150), range(150, 230), range(230, 330)


def by_torch(seed, epochs, most):
    """SentEval's loop: 150 rows in batches of 64, a look at the held-out rows every few epochs, the best head kept."""
    random = np.random.default_rng(seed)
    first = random.uniform(-(8**-0.5), 8**-0.5, (9, 5)).astype(np.float32)
    layer = torch.nn.Linear(8, 5)
    layer.weight.data, layer.bias.data = torch.tensor(first[:8].T.copy()), torch.tensor(first[8])
    optimizer = torch.optim.Adam(layer.parameters())
    wanted, bins = torch.tensor(targets(SCORES[TRAIN]), dtype=torch.float32), torch.arange(1.0, 6)
    best, answers, passed, epoch = -1.0, None, 0, 0
    while epoch <= most:
        for order in [random.permutation(150) for _ in range(epochs)]:
            for rows in (order[:64], order[64:128], order[128:]):
                loss = torch.nn.functional.mse_loss(layer(torch.tensor(X[rows])).softmax(-1), wanted[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        epoch += epochs
        with torch.no_grad():
            found = {part: (layer(torch.tensor(X[part])).softmax(-1) @ bins).numpy() for part in (HELD, TEST)}
        r = pearson(found[HELD], SCORES[HELD])
        if r > best:
            best, answers = r, found[TEST]
        elif passed >= 3:
            break
        else:
            passed += 1
    return answers, epoch


def ours(seed):
    return predict_relatedness(X[TRAIN], SCORES[TRAIN], X[HELD], SCORES[HELD], [X[TEST], X[HELD]], seed)


@pytest.mark.parametrize(("epochs", "most"), [(6, 60), (30, 1000)])
def test_it_is_what_torch_would_train(monkeypatch, epochs, most):
    """Once until the largest number of epochs, and once until r has failed to rise four times."""
    monkeypatch.setattr(relatedness, "EPOCHS", epochs)
    monkeypatch.setattr(relatedness, "MAX_EPOCHS", most)
    wanted, end = by_torch(1, epochs, most)
    assert (end > most) == (most == 60)
    np.testing.assert_allclose(ours(1)[0], wanted, atol=2e-4)


def test_it_learns_and_the_seed_decides_everything():
    assert pearson(ours(0)[0], SCORES[TEST]) > 0.8
    np.testing.assert_array_equal(ours(0)[0], ours(0)[0])
    assert not np.array_equal(ours(0)[0], ours(1)[0])


def test_a_score_is_the_mean_of_its_target_and_below_1_mass_is_missing_as_in_senteval():
    scores = np.array([1.0, 2.6, 4.999, 5.0])
    np.testing.assert_allclose(targets(scores) @ np.arange(1, 6), scores)
    np.testing.assert_allclose(targets(scores).sum(1), 1)
    np.testing.assert_allclose(targets(np.array([0.0, 0.4])), [[0] * 5, [0.4, 0, 0, 0, 0]])
