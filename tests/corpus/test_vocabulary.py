"""A vocabulary that is given: a pretraining is of a BERT."""

from pathlib import Path

import pytest
from subwords import write_tokenizer

from bert_jax.corpus.vocabulary import read_vocabulary
from bert_jax.errors import InputError


def test_a_tokenizer_with_another_template_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "roberta")
    with pytest.raises(InputError, match=r"only a BERT can be pretrained here, on .* name one of BERT") as error:
        read_vocabulary(tmp_path)
    assert str(tmp_path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_another_kind_of_tokenizer_with_the_template_of_bert_is_taken(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "albert")
    assert read_vocabulary(tmp_path).encode("the cat", "the dog")[0] == 2
