"""Uploads to the hub, with its two calls replaced: what would be uploaded loads again with equal vectors."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from worlds import write_encoder

import bert_jax
from bert_jax.errors import InputError

TEXTS = ["the cat sees a dog", "red"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "encoder"
    write_encoder(folder)
    return bert_jax.load(folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The calls that reach the hub, and the folder that it got."""
    import huggingface_hub

    calls = {"folder": tmp_path / "uploaded"}

    def create_repo(self, repo_id, **settings):
        calls.update(token=self.token, create=settings)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, repo_id, folder_path, **settings):
        calls.update(upload=settings)
        shutil.copytree(folder_path, calls["folder"])
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    return calls


def test_an_encoder_is_uploaded_as_it_is_saved(bert, hub):
    address = bert.push_to_hub("mylab/tiny", private=True, token="hf_x", commit_message="First", create_pr=True)
    assert address == "https://hub/mylab/tiny/commit/1"
    assert (hub["token"], hub["create"]) == ("hf_x", {"private": True, "exist_ok": True})
    assert hub["upload"] == {"commit_message": "First", "revision": None, "create_pr": True}
    assert 'from_pretrained("mylab/tiny")' in (hub["folder"] / "README.md").read_text()
    found = bert_jax.load(hub["folder"])
    np.testing.assert_allclose(found.embed(TEXTS), bert.embed(TEXTS), atol=1e-6)
    assert found.checkpoint.pooler is not None


def test_a_model_with_a_readout_is_uploaded_for_sentence_transformers(bert, hub):
    chosen = bert.with_readout("max", projection="none", layers="avg(0,1)", normalize=True)
    chosen.prompts["query"] = "a "
    chosen.push_to_hub("mylab/tiny", card="Mine.")
    found = bert_jax.load(hub["folder"])
    assert (hub["folder"] / "README.md").read_text() == "Mine."
    np.testing.assert_allclose(found.embed(TEXTS), chosen.embed(TEXTS), atol=1e-6)
    np.testing.assert_allclose(found.encode_query(TEXTS), chosen.encode(TEXTS, prompt="a "), atol=1e-6)
    assert np.abs(found.embed(TEXTS) - bert.embed(TEXTS)).max() > 1e-3


def test_a_readout_that_cannot_be_exported_is_refused_before_the_hub_is_asked(bert, hub):
    with pytest.raises(InputError, match=r"concat"):
        bert.with_readout(layers="concat(0,1)").push_to_hub("mylab/tiny")
    assert "create" not in hub


def test_a_refusal_of_the_hub_is_one_line(bert, hub, monkeypatch):
    import huggingface_hub

    def refuse(self, repo_id, **settings):
        raise ValueError("401: not allowed\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(InputError, match=r"^mylab/tiny cannot be written on the hub: 401: not allowed$"):
        bert.push_to_hub("mylab/tiny")
