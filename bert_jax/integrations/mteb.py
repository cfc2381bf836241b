"""MTEB: encoders that its tasks evaluate, and similarity scores of run folders as its result files.

`mteb.evaluate(Encoder("DIR", pooling="cls"), tasks)` measures; `write_results(RUN, OUT)` writes what was measured here.
Muennighoff et al. 2023, arXiv 2210.07316.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr

from bert_jax.checkpoints.directory import fingerprint, resolve
from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.files import Json, write_whole, writing
from bert_jax.pretrained import load
from bert_jax.study.run import name_encoder
from bert_jax.study.store import Row, read_predictions, read_rows
from bert_jax.types import Tree

TASKS = {f"sts{year}": f"STS{year}" for year in range(12, 17)} | {"stsb": "STSBenchmark", "sickr": "SICK-R"}
"""Our similarity sets -> MTEB's tasks of the same pairs."""
_UNKNOWN = (
    *("loader", "release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens", "embed_dim", "license"),
    *("open_weights", "public_training_code", "public_training_data", "use_instructions", "training_datasets"),
)
"""Fields of MTEB's description of a model that nothing here knows."""


class Encoder:
    """An encoder with one readout, as MTEB takes a model.

    Args:
        name: model directory or hub id.
        pooling: pooling spec; as for `Pretrained.embed`, the directory's own readout is used if none of the four is
            given, and otherwise the mean of the last layer, not normalized, is the default.
        layers: layers spec.
        projection: projection spec.
        normalize: divide each vector by its length.
        batch_size: texts in a step, instead of MTEB's.

    Raises:
        InputError: see `load` and `Pretrained.embed`.
    """

    def __init__(
        self,
        name: str | Path,
        pooling: str | None = None,
        layers: str | None = None,
        projection: str | None = None,
        normalize: bool | None = None,
        batch_size: int | None = None,
    ) -> None:
        folder = resolve(str(name))
        self.model = load(folder).with_readout(pooling, layers, projection, normalize)
        self._batch_size = batch_size
        assert self.model.readout is not None, "with_readout chooses one"
        self._meta = _describe(name_encoder(str(name)), fingerprint(folder), self.model.readout)

    def encode(
        self,
        inputs: Iterable[Mapping[str, list[str]]],
        *,
        task_metadata: Tree,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Tree = None,
        **settings: Tree,
    ) -> np.ndarray:
        """Sentence vectors of MTEB's batches, float32 [texts, width].

        Args:
            inputs: batches with a list `text`.
            task_metadata: MTEB's description of the task; with `prompt_type` it names the prompt, if the directory has
                one for it.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: query or document, or None.
            **settings: of MTEB, for `EncodeInterface.encode`.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        side = [prompt_type.value] if prompt_type else []
        names = [f"{of}-{one}" if one else of for of in (task_metadata.name, task_metadata.type) for one in (*side, "")]
        found = [name for name in (*names, *side) if name in (self.model.prompts or {})]
        prompt = {"prompt_name": found[0]} if found else {}
        vectors: np.ndarray = self.model.encode(texts, **prompt, **(settings | {"batch_size": self._batch_size}))
        return vectors

    def similarity(self, embeddings1: Tree, embeddings2: Tree) -> Tree:
        """Cosines of each vector of the first with each of the second, a torch tensor."""
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Tree, embeddings2: Tree) -> Tree:
        """Cosines of the n-th vectors of both, a torch tensor."""
        return self.model.similarity_pairwise(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Tree:
        """MTEB's description of the model: its name says the readout."""
        from mteb.models import ModelMeta

        return ModelMeta(**self._meta)


def write_results(folder: Path, out: Path) -> list[Path]:
    """Write the similarity scores of a run folder as MTEB's result files, a model for each readout.

    The files are `OUT/results/MODEL/REVISION/TASK.json`, as `mteb.ResultCache(OUT)` reads them.

    Args:
        folder: a run folder with zero-shot runs on STS12 to STS16, STS-B or SICK-R.
        out: folder of the results; files of the same models and tasks are replaced.

    Raises:
        InputError: the folder has no such run, or cannot be read or written.
    """
    rows = [row for row in read_rows(folder) if _is_shared(row)]
    if not rows:
        raise InputError(f"{folder} has no zero-shot run that MTEB has a task for: {', '.join(TASKS)}, over all pairs")
    made: dict[Path, Json] = {}
    for row in rows:
        revision = row.config["encoder_weights"]
        meta = _describe(row.config.get("encoder", "unknown"), revision, ReadoutConfig.parse(row.readout))
        place = out / "results" / meta["name"].replace("/", "__") / revision
        made[place / "model_meta.json"] = meta
        made[place / f"{TASKS[row.task]}.json"] = _result(folder, row)
    with writing(out):
        for path, content in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content, indent=2)
            write_whole(path, lambda file, text=text: file.write(f"{text}\n".encode()))  # type: ignore[misc]
    return [path for path in made if path.name != "model_meta.json"]


def _is_shared(row: Row) -> bool:
    return row.regime == "sts" and row.ok and row.task in TASKS and row.metric == "spearman"


def _result(folder: Path, row: Row) -> Json:
    scores = {}
    for name, (cosines, gold) in read_predictions(folder, row).items():
        pearson, spearman = (float(measure(cosines, gold).statistic) for measure in (pearsonr, spearmanr))
        found = {"pearson": pearson, "spearman": spearman, "cosine_pearson": pearson, "cosine_spearman": spearman}
        about = {"main_score": spearman, "hf_subset": "default", "languages": ["eng-Latn"]}
        scores[name] = [found | about]
    data = row.config["data"]
    return {
        "task_name": TASKS[row.task],
        # Not a revision of MTEB's copy of the set: the texts and scores were read from the published files.
        "dataset_revision": f"published files, {', '.join(data[name] for name in scores)}",
        "mteb_version": None,
        "evaluation_time": row.seconds,
        "scores": scores,
    }


def _describe(encoder: str, revision: str, readout: ReadoutConfig) -> Json:
    """The fields of MTEB's `ModelMeta`. Its names have an owner; each readout is a model of its own."""
    owned = encoder if "/" in encoder else f"local/{encoder}"
    return dict.fromkeys(_UNKNOWN) | {
        "name": f"{owned}-{re.sub(r'[^A-Za-z0-9._+]+', '-', str(readout)).strip('-')}",
        "revision": revision,
        "framework": ["JAX"],
        "similarity_fn_name": "cosine",
    }
