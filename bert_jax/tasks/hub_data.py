"""Data sets of the Hugging Face hub, by id, as folders of Parquet files."""

from pathlib import Path

from bert_jax.errors import InputError

PREFIX = "hub:"
"""What stands before the id of a data set in place of a path."""
_CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps data sets, whatever their format, as CONFIG/SPLIT/NUMBER.parquet."""


def fetch(name: str) -> Path:
    """Download a data set and return its folder, with a folder of Parquet files for each split.

    Args:
        name: OWNER/NAME or, for a data set of several configurations, OWNER/NAME/CONFIG.

    Raises:
        InputError: there is no such data set or configuration, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download  # slow to import

    owner, _, rest = name.partition("/")
    title, _, config = rest.partition("/")
    repo, config = f"{owner}/{title}", config or "default"
    if not title:
        raise InputError(f"{PREFIX}{name}: give the id of a data set as OWNER/NAME, or OWNER/NAME/CONFIG")
    try:
        patterns = [f"{config}/*/*.parquet"]
        folder = snapshot_download(repo, repo_type="dataset", revision=_CONVERTED, allow_patterns=patterns)
    except Exception as error:  # network, authorisation and naming errors share no base class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{PREFIX}{name} cannot be fetched from the hub: {reason}") from error
    if not (Path(folder) / config).is_dir():
        raise InputError(f"{PREFIX}{name}: it has no configuration {config!r}; give {PREFIX}{repo}/CONFIG")
    return Path(folder) / config
