"""Model cards: metadata that the hub takes, and what was done with what result."""

import pytest
from huggingface_hub import ModelCard

from bert_jax.checkpoints.card import carried_card, plain_card, pretraining_card
from bert_jax.config import BertConfig
from bert_jax.data.objectives import make_objectives
from bert_jax.files import plain
from bert_jax.pretrain_config import ObjectiveConfig, PretrainConfig, VocabConfig

LOG = [
    {"step": 10, "split": "train", "time": 1.0, "mlm_loss": 9.0},
    {"step": 20, "split": "train", "time": 2.0, "mlm_loss": 3.21987},
    {"step": 20, "split": "heldout", "time": 3.0, "mlm_loss": 3.5, "mlm_accuracy": 0.25},
]


@pytest.mark.parametrize(
    "data",
    [{"corpus": {"id": "abc", "train": {"documents": 7}}}, {"documents": 2000, "vocab": VocabConfig()}],
)
def test_a_pretraining_says_how_it_was_made_and_how_it_ended(data, tiny: BertConfig) -> None:
    settings = plain({"pretrain": PretrainConfig(steps=20), **data})
    card = ModelCard(pretraining_card("mine", tiny, settings, LOG, "masked tokens", "fill-mask"))
    assert card.data.to_dict()["pipeline_tag"] == "fill-mask" and card.data.library_name == "transformers"
    rows = [line for line in card.text.splitlines() if line.startswith("|")]
    for row in (
        "| train, step 20.mlm_loss | 3.2199 |",
        "| heldout, step 20.mlm_accuracy | 0.25 |",
        "| optim.learning_rate | 0.001 |",
        "| objective.mask_rate | 0.15 |",
        "| corpus.train.documents | 7 |" if "corpus" in data else "| documents | 2000 |",
        f"| hidden_size | {tiny.hidden_size} |",
    ):
        assert row in rows
    assert "| train, step 10.mlm_loss | 9.0 |" not in rows and ("generated" in card.text) == ("vocab" in data)


def test_a_left_to_right_model_is_not_said_to_fill_masks(tiny: BertConfig) -> None:
    settings = plain({"pretrain": PretrainConfig(), "documents": 1})
    tokens, _ = make_objectives(ObjectiveConfig("ltr", "none"))
    card = ModelCard(pretraining_card("mine", tiny, settings, LOG, tokens.card, tokens.use))
    assert card.data.pipeline_tag == "feature-extraction" and "on every next token, 2,000 steps" in card.text


def test_a_card_goes_where_its_model_goes(tiny: BertConfig, tmp_path) -> None:
    before = "---\nlicense: apache-2.0\nlanguage: en\nlibrary_name: transformers\n---\n\n# Theirs\n\nHow it was made.\n"
    (tmp_path / "README.md").write_text(before)
    card = ModelCard(carried_card(tmp_path / "README.md", "sentence-similarity", "Converted from X."))
    assert card.data.license == "apache-2.0" and card.data.library_name == "sentence-transformers"
    assert card.text.strip().endswith("How it was made.\n\n## Conversion\n\nConverted from X.")
    assert "was not recorded" in ModelCard(plain_card("mine", "feature-extraction", tiny)).text
