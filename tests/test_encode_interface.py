"""`encode` and its companions, called as sentence-transformers' evaluators and MTEB call them."""

from collections.abc import Sequence

import numpy as np
import pytest
from worlds import write_encoder

import bert_jax
from bert_jax.encode_interface import EncodeInterface
from bert_jax.errors import InputError

TEXTS = ["the cat sees a dog", "red", "a blue cat sleeps and runs", "the very red dog"]


class Letters(EncodeInterface):
    """Counts of four letters, without an encoder."""

    def __init__(self, prompts: dict[str, str] | None) -> None:
        self.prompts = prompts

    def embed(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        return np.array([[text.count(letter) for letter in "abcd"] for text in texts], np.float32).reshape(-1, 4)


def refused(**settings: object) -> str:
    with pytest.raises(InputError) as caught:
        Letters({}).encode(**{"inputs": ["a"], **settings})
    return str(caught.value)


def test_one_text_gives_a_vector_and_texts_give_rows_by_either_name_of_the_argument():
    model = Letters({})
    np.testing.assert_array_equal(model.encode("abba"), [2, 2, 0, 0])
    np.testing.assert_array_equal(model.encode(sentences=["abba", "d"]), [[2, 2, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(model.encode(np.array(["abba", "d"])), model.encode(("abba", "d")))
    assert model.encode([]).shape == (0, 4)


def test_dimensions_are_cut_before_vectors_are_normalized():
    vectors = Letters({}).encode(["aaabbbbc", ""], truncate_dim=2, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_a_prompt_stands_before_every_text():
    model = Letters({"query": "bb ", "passage": "cc "})
    np.testing.assert_array_equal(model.encode(["a", "d"], prompt="bb "), model.encode(["a", "d"], prompt_name="query"))
    np.testing.assert_array_equal(model.encode_query("a"), [1, 2, 0, 0])
    np.testing.assert_array_equal(model.encode_document(["a"]), [[1, 0, 2, 0]])
    np.testing.assert_array_equal(model.encode_document("a", prompt=""), [1, 0, 0, 0])
    np.testing.assert_array_equal(Letters({}).encode_query("a"), [1, 0, 0, 0])


def test_progress_is_written_in_lines_and_changes_nothing(capsys):
    texts = ["ab"] * 1500
    np.testing.assert_array_equal(Letters({}).encode(texts, show_progress_bar=True), Letters({}).encode(texts))
    assert capsys.readouterr().err == "encoded 1,024 of 1,500 texts\nencoded 1,500 of 1,500 texts\n"


def test_what_cannot_be_honoured_is_refused():
    assert "output_value" in refused(output_value="token_embeddings")
    assert "quantize_embeddings" in refused(precision="int8")
    assert "truncate_dim 0" in refused(truncate_dim=0)
    assert "not 3" in refused(inputs=3)
    assert "unknown prompt 'qury'. Available: " in refused(prompt_name="qury")
    with pytest.raises(InputError, match="include_prompt is false"):
        Letters(None).encode(["a"], prompt="bb ")


def test_evaluators_of_sentence_transformers_give_the_same_scores_for_both_libraries(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    queries, texts = {"q": TEXTS[0]}, {str(n): text for n, text in enumerate(TEXTS[1:])}
    evaluators = [
        evaluation.EmbeddingSimilarityEvaluator(TEXTS[:3], TEXTS[1:], [0.1, 0.4, 0.3]),
        evaluation.BinaryClassificationEvaluator(TEXTS[:3], TEXTS[1:], [0, 1, 1]),
        evaluation.TripletEvaluator(TEXTS[:1], TEXTS[3:], TEXTS[1:2]),
        evaluation.InformationRetrievalEvaluator(queries, texts, {"q": {"2"}}),
        evaluation.RerankingEvaluator([{"query": TEXTS[0], "positive": TEXTS[3:], "negative": TEXTS[1:3]}]),
        evaluation.TranslationEvaluator(TEXTS, TEXTS[::-1]),
    ]
    write_encoder(tmp_path / "encoder")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "encoder"), device="cpu")
    ours = bert_jax.load(tmp_path / "encoder")
    for evaluator in evaluators:
        evaluator.write_csv = False
        assert evaluator(ours) == pytest.approx(evaluator(theirs), abs=1e-4), type(evaluator).__name__
    for settings in (
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"convert_to_tensor": True, "prompt": "a: "},
    ):
        expected, found = theirs.encode(TEXTS, **settings), ours.encode(TEXTS, **settings)
        assert type(found) is type(expected)
        np.testing.assert_allclose(np.stack([*found]), np.stack([*expected]), atol=1e-5)
    one = ours.similarity(ours.encode(TEXTS), ours.encode(TEXTS, convert_to_numpy=False))
    np.testing.assert_allclose(one, theirs.similarity(theirs.encode(TEXTS), theirs.encode(TEXTS)), atol=1e-5)
