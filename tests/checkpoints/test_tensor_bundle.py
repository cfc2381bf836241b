"""TensorFlow's checkpoint format: what an independent writer wrote is read, and nothing damaged is."""

from pathlib import Path

import google_crc32c
import ml_dtypes
import numpy as np
import pytest
import tensor_bundles
from tensor_bundles import field, write_bundle

from bert_jax.checkpoints.tensor_bundle import checkpoint_files, find_checkpoint, read_bundle
from bert_jax.errors import InputError

rng = np.random.default_rng(0)
VARIABLES = {
    **{
        f"bert/encoder/layer_{n}/output/dense/kernel": rng.normal(size=(3, n + 2)).astype(np.float32) for n in range(12)
    },
    "bert/encoder/layer_0/output/dense/bias": np.float32([1, 2, 3]),
    "empty": np.zeros((0, 4), np.float32),
    "global_step": np.array(2**40 + 3, np.int64),
    "half": np.float16([0.5, -2]),
    "short": np.array([[1.5], [-3]], ml_dtypes.bfloat16),
    "wide": np.arange(300, dtype=np.float64).reshape(3, 100),
}


def everything(names: list[str]) -> list[str]:
    return names


def refused(prefix: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_bundle(prefix, everything)
    return str(caught.value)


def test_the_writer_has_the_published_checksum() -> None:
    """RFC 3720, appendix B.4."""
    assert tensor_bundles.crc32c(b"123456789") == 0xE3069283 == google_crc32c.value(b"123456789")
    assert tensor_bundles.crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("per_block", [1, 4, 1000])
def test_every_variable_comes_back(num_shards: int, per_block: int, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", VARIABLES, num_shards, per_block)
    found = read_bundle(tmp_path / "model.ckpt", everything)
    assert found.keys() == VARIABLES.keys()
    for name, value in VARIABLES.items():
        np.testing.assert_array_equal(found[name], value, strict=True)
    assert find_checkpoint(tmp_path) == tmp_path / "model.ckpt"
    assert len(checkpoint_files(tmp_path / "model.ckpt")) == 1 + num_shards


def test_what_is_not_wanted_is_not_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", {"a": np.ones(2, np.float32), "a/adam_m": np.ones(2, np.float32)}, num_shards=2)
    (tmp_path / "x.data-00001-of-00002").unlink()
    assert list(read_bundle(tmp_path / "x", lambda names: [name for name in names if name == "a"])) == ["a"]
    message = refused(tmp_path / "x")
    assert "x.data-00001-of-00002 cannot be read: No such file" in message and "has 2 such files" in message


@pytest.mark.parametrize("where", ["first block", "index block", "footer", "data"])
def test_a_changed_bit(where: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", VARIABLES)
    path = tmp_path / ("x.data-00000-of-00001" if where == "data" else "x.index")
    data = bytearray(path.read_bytes())
    data[{"first block": 20, "index block": len(data) - 60, "footer": len(data) - 3, "data": 100}[where]] ^= 4
    path.write_bytes(data)
    assert refused(tmp_path / "x").startswith(f"{path} is damaged")


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("keep", [0, 30, 200, -1])
def test_a_truncated_file(suffix: str, keep: int, tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", VARIABLES)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(tmp_path / "x").startswith(f"{path} is damaged or ")


def test_compressed_blocks(tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", VARIABLES, compression=1)
    assert "its blocks are compressed (type 1)" in refused(tmp_path / "x")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (field(1, 7) + field(5, 10), "odd is of TensorFlow's type 7, which is not supported"),
        (field(1, 1) + field(2, field(2, field(1, 9))) + field(7, b""), "odd is stored in slices"),
    ],
)
def test_a_variable_that_is_not_plain_numbers(entry: bytes, reason: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", {"a": np.ones(2, np.float32)}, extra={"odd": entry})
    assert reason in refused(tmp_path / "x")
    assert list(read_bundle(tmp_path / "x", lambda names: [name for name in names if name == "a"])) == ["a"]


def test_several_checkpoints_in_a_folder(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    for step in (10, 20):
        write_bundle(tmp_path / f"model.ckpt-{step}", {"a": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=r"several TensorFlow checkpoints \(model.ckpt-10, model.ckpt-20\)"):
        find_checkpoint(tmp_path)
