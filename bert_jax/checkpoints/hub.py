"""Uploads of model directories to the Hugging Face hub."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from bert_jax.errors import InputError


def upload(
    repo_id: str,
    write: Callable[[Path], None],
    private: bool | None = None,
    token: str | bool | None = None,
    message: str | None = None,
    revision: str | None = None,
    create_pr: bool | None = None,
) -> str:
    """Upload what `write` writes into a folder, and return the address of the commit.

    Args:
        repo_id: OWNER/NAME; created if missing.
        write: function that writes the model directory.
        private: make a new repository private.
        token: of the account; by default the one of `hf auth login`.
        message: message of the commit.
        revision: branch of the commit.
        create_pr: open a pull request.

    Raises:
        InputError: the hub cannot be reached or refuses; or see `write`.
    """
    from huggingface_hub import HfApi  # slow to import

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write(folder)
        try:
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message=message or "Upload a model of bert_jax",
                revision=revision,
                create_pr=create_pr,
            )
        except Exception as error:  # network, authorisation and naming errors share no base class
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{repo_id} cannot be written on the hub: {reason}") from error
    return str(commit.commit_url)
