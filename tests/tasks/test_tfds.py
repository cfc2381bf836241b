"""A tiny builder, and TFDS's own GLUE fed from local files, read with no TensorFlow and no network."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import checksums

import bert_jax.tasks.tfds
from bert_jax.errors import InputError
from bert_jax.tasks.glue import TASKS, read_tsv
from bert_jax.tasks.task import Task
from bert_jax.tasks.tfds import glue_builder, prepare, read

SHARED = Path(__file__).parents[2].parent / "shared/data/glue"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published GLUE folders are not at {SHARED}")

PAIRS = Task("pairs", "Pairs", ("left", "right"), ("no", "yes"), ("accuracy",))
GRADES = Task("grades", "Grades", ("left", "right"), (), ("pearson",))
TEXTS = {"left": tfds.features.Text(), "right": tfds.features.Text()}
CLASSES = tfds.features.ClassLabel(names=PAIRS.classes)
FEATURES = {
    "pairs": {**TEXTS, "idx": np.int32, "label": CLASSES},
    "grades": {**TEXTS, "idx": np.int32, "label": np.float32},
    "numbers": {**TEXTS, "label": np.int64},
    "single": {"left": tfds.features.Text(), "label": CLASSES},
}
LABELS = {
    "pairs": [0, 1, 1, 0, 1],
    "grades": [0.5, 2.25, 5, 1, 0],
    "numbers": [0, 1, 2, 0, 1],
    "single": [0, 1, 0, 1, 1],
}


class Tiny(tfds.core.GeneratorBasedBuilder):
    """Five rows per split; the labels of `test` are hidden, and `mixed` hides one of them."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in FEATURES]

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(FEATURES[self.builder_config.name])
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        return {split: self._generate_examples(split) for split in ("train", "test", "mixed")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, label in enumerate(LABELS[self.builder_config.name]):
            hidden = split == "test" or (split == "mixed" and index == 3)
            row = {"left": f"left {index}", "right": "", "idx": index, "label": -1 if hidden else label}
            yield index, {name: row[name] for name in self.info.features}


class Offline(tfds.core.GeneratorBasedBuilder):
    """Its download is refused at once: nothing listens on port 9 of this machine."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"label": np.int64}))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        return {"train": self._generate_examples(dl_manager.download("http://127.0.0.1:9/tiny.tsv"))}

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        yield 0, {"label": 0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tfds")


def tiny(config: str, data_dir: Path) -> Tiny:
    return Tiny(config=config, data_dir=data_dir, file_format="array_record")


def fails(builder: tfds.core.DatasetBuilder, task: Task, split: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        read(builder, task, split)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def test_rows_come_in_the_order_of_idx(data_dir: Path) -> None:
    rows = read(tiny("pairs", data_dir), PAIRS, "train")
    assert rows.a == [f"left {index}" for index in range(5)]
    assert rows.b == [""] * 5
    np.testing.assert_array_equal(rows.labels, np.int32(LABELS["pairs"]), strict=True)


def test_scores_stay_scores(data_dir: Path) -> None:
    rows = read(tiny("grades", data_dir), GRADES, "train")
    np.testing.assert_array_equal(rows.labels, np.float32(LABELS["grades"]), strict=True)


def test_a_builder_without_idx_keeps_texts_and_labels_together(data_dir: Path) -> None:
    rows = read(tiny("single", data_dir), replace(PAIRS, texts=("left",)), "train")
    assert rows.b is None
    labels = dict(zip(rows.a, rows.labels.tolist(), strict=True))
    assert labels == {f"left {index}": label for index, label in enumerate(LABELS["single"])}


@pytest.mark.parametrize(("config", "task"), [("pairs", PAIRS), ("grades", GRADES)])
def test_hidden_labels_are_none(config: str, task: Task, data_dir: Path) -> None:
    rows = read(tiny(config, data_dir), task, "test")
    assert rows.labels is None
    assert len(rows.a) == 5


def test_one_hidden_label_among_others_is_refused(data_dir: Path) -> None:
    assert fails(tiny("pairs", data_dir), PAIRS, "mixed").startswith(
        "tiny/pairs/1.0.0, split 'mixed', row 3 (from 0): label -1 is not a class from 0 to 1"
    )


def test_a_class_outside_the_task_is_refused(data_dir: Path) -> None:
    assert "label 2 is not a class from 0 to 1" in fails(tiny("numbers", data_dir), PAIRS)


def test_a_missing_feature_lists_those_that_are_there(data_dir: Path) -> None:
    assert fails(tiny("single", data_dir), PAIRS).startswith(
        "tiny/single/1.0.0: no feature 'right'; it has label, left;"
    )


def test_classes_in_another_order_are_refused(data_dir: Path) -> None:
    message = fails(tiny("pairs", data_dir), replace(PAIRS, classes=("yes", "no")))
    assert "feature 'label' has the classes no, yes where Pairs has yes, no" in message
    assert "where Grades has scores" in fails(tiny("pairs", data_dir), GRADES)


def test_an_unknown_split_gets_a_suggestion(data_dir: Path) -> None:
    message = fails(tiny("pairs", data_dir), PAIRS, "tran")
    assert message == "unknown split of tiny/pairs/1.0.0 'tran'. Did you mean 'train'? Available: mixed, test, train"


def test_a_failed_download_names_its_address_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    message = fails(Offline(data_dir=tmp_path, file_format="array_record"), PAIRS)
    assert message.startswith("TFDS cannot prepare offline/1.0.0 from http://127.0.0.1:9/tiny.tsv: ConnectionError:")
    assert message.endswith("with --glue-dir DIR")


def test_an_unknown_glue_task_is_named() -> None:
    with pytest.raises(InputError, match="unknown task 'pairs'"):
        glue_builder(PAIRS)


def test_another_file_format_is_named(data_dir: Path, tmp_path: Path) -> None:
    prepare(tiny("pairs", data_dir))
    for config in ("tiny/pairs/1.0.0", "glue/cola/2.0.0"):
        shutil.copytree(data_dir / "tiny/pairs/1.0.0", tmp_path / config)
        info = tmp_path / config / "dataset_info.json"
        version = Path(config).name
        info.write_text(info.read_text().replace("array_record", "tfrecord").replace('"1.0.0"', f'"{version}"'))
    with pytest.raises(InputError, match="cannot use the glue/cola that is in"):
        glue_builder(TASKS["cola"], tmp_path)
    assert "holds tfrecord, which has no random access" in fails(Tiny(config="pairs", data_dir=tmp_path), PAIRS)


HOST = "https://dl.fbaipublicfiles.com"
MRPC_DEV_IDS = tfds.text.glue._MRPC_DEV_IDS


def offer(monkeypatch: pytest.MonkeyPatch, data_dir: Path, files: dict[str, Path]) -> None:
    """Put files where TFDS looks before it downloads, and let it expect their checksums."""
    manual = data_dir / "downloads/manual"
    manual.mkdir(parents=True)
    infos = {}
    for url, path in files.items():
        shutil.copy(path, manual / path.name)
        infos[url] = checksums.compute_url_info(epath.Path(manual / path.name))
    monkeypatch.setattr(bert_jax.tasks.tfds._Glue, "url_infos", infos)


def pack(folder: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")
    return to


def test_glue_itself_is_read_from_its_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "STS-B"
    folder.mkdir()
    header = "index\tsentence1\tsentence2\tscore\n"
    rows = "".join(f'{row}\ta {row}\tb "{row}\t{row / 4}\n' for row in range(20))
    (folder / "train.tsv").write_text(header + rows)
    (folder / "dev.tsv").write_text(header + rows)
    (folder / "test.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")
    offer(monkeypatch, tmp_path, {f"{HOST}/glue/data/STS-B.zip": pack(folder, tmp_path / "STS-B.zip")})
    builder = glue_builder(TASKS["stsb"], tmp_path)
    train = read(builder, TASKS["stsb"], "train")
    assert train.a == [f"a {row}" for row in range(20)]
    assert train.b == [f'b "{row}' for row in range(20)]
    np.testing.assert_array_equal(train.labels, np.arange(20, dtype=np.float32) / 4, strict=True)
    assert read(builder, TASKS["stsb"], "test").labels is None


def test_a_broken_zip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CoLA.zip").write_bytes(b"<html>moved</html>")
    offer(monkeypatch, tmp_path, {f"{HOST}/glue/data/CoLA.zip": tmp_path / "CoLA.zip"})
    message = fails(glue_builder(TASKS["cola"], tmp_path), TASKS["cola"])
    assert "cannot prepare glue/cola/2.0.0" in message
    assert "BadZipFile" in message


def assert_same_rows(task: Task, data_dir: Path, splits: tuple[str, ...]) -> None:
    builder = glue_builder(task, data_dir)
    for split in splits:
        from_tfds, from_tsv = read(builder, task, split), read_tsv(task, SHARED, split)
        assert from_tfds.a == from_tsv.a
        assert from_tfds.b == from_tsv.b
        np.testing.assert_array_equal(from_tfds.labels, from_tsv.labels, strict=True)


@needs_shared
def test_cola_is_the_same_from_tfds_and_from_tsv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path, {f"{HOST}/glue/data/CoLA.zip": pack(SHARED / "CoLA", tmp_path / "CoLA.zip")})
    assert_same_rows(TASKS["cola"], tmp_path, ("train", "validation"))


@needs_shared
def test_mrpc_is_the_same_from_tfds_and_from_tsv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {MRPC_DEV_IDS: "dev_ids.tsv"} | {
        f"{HOST}/senteval/senteval_data/msr_paraphrase_{part}.txt": f"msr_paraphrase_{part}.txt"
        for part in ("train", "test")
    }
    offer(monkeypatch, tmp_path, {url: SHARED / "MRPC" / name for url, name in urls.items()})
    assert_same_rows(TASKS["mrpc"], tmp_path, ("train", "validation"))


def test_nothing_imports_tensorflow() -> None:
    program = "import sys, bert_jax.tasks.tfds; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
