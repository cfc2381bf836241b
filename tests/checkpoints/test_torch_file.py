"""Files of torch.save, in both of its formats: every number as torch has it, and nothing in them is run."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bert_jax.checkpoints.torch_file import read_torch_file
from bert_jax.errors import InputError

torch = pytest.importorskip("torch", reason="the files are written by torch: pip install '.[parity]'")

FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def save(content: object, path: Path, is_zip: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_torch_file(path)
    return str(caught.value)


class Bomb:
    """A thing that, unpickled, runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@FORMATS
def test_every_type_and_layout_of_tensor(is_zip: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "whole": base,
        "transposed": base.t(),  # the storage of the first, with other strides
        "part": base[1:, ::2],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "float16": torch.randn(3).half(),
        "bfloat16": torch.randn(3, 2).bfloat16(),
        "float64": torch.randn(2).double(),
        "int64": torch.arange(5) - 2,
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    found = read_torch_file(save(tensors, tmp_path / "x.bin", is_zip))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert str(found[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(
            found[name].astype(np.float64), tensor.detach().to(torch.float64).numpy(), strict=True
        )


@FORMATS
def test_a_state_dict_with_its_notes(is_zip: bool, tmp_path: Path) -> None:
    """An OrderedDict that carries the versions of its modules, as a module gives it."""
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    found = read_torch_file(save(state, tmp_path / "x.bin", is_zip))
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(found["0.weight"], state["0.weight"].numpy())


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol: int, is_zip: bool, tmp_path: Path) -> None:
    settings = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": is_zip}
    torch.save({"a" * 300: torch.ones(2)}, tmp_path / "x", **settings)
    np.testing.assert_array_equal(read_torch_file(tmp_path / "x")["a" * 300], [1, 1])


@FORMATS
@pytest.mark.parametrize("place", ["beside", "instead", "name"])
def test_a_pickle_that_runs_a_command_does_not(place: str, is_zip: bool, tmp_path: Path) -> None:
    canary, bomb = tmp_path / "canary", Bomb(f"touch {tmp_path / 'canary'}")
    content = {"beside": {"a": torch.ones(2), "b": bomb}, "instead": bomb, "name": {bomb: torch.ones(2)}}[place]
    path = save(content, tmp_path / "pytorch_model.bin", is_zip)
    message = refused(path)
    assert f"{path} names posix.system" in message and "a pickle can run code" in message
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the command is there, and whoever unpickles the file runs it
    assert canary.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cposix\nsystem\n(S'touch canary'\ntR.",
        b"(S'touch canary'\niposix\nsystem\n.",  # INST
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x06open()\x85R.",  # STACK_GLOBAL
        b"\x80\x02ctorch\nSize\n)\x81.",  # NEWOBJ
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x82\x01.",  # EXT1
    ],
)
def test_no_way_of_a_pickle_to_a_name(program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    assert str(path) in refused(path)
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + program)
    assert str(path) in refused(path)
    assert [file.name for file in tmp_path.iterdir()] == ["pytorch_model.bin"]


@FORMATS
def test_something_other_than_tensors_by_name(is_zip: bool, tmp_path: Path) -> None:
    message = refused(save({"epoch": 3, "a": torch.ones(2), "optimizer": {}}, tmp_path / "x", is_zip))
    assert message.endswith("holds things other than tensors: 'epoch', 'optimizer'; save model.state_dict() alone")
    assert "holds no tensors by name" in refused(save([torch.ones(2)], tmp_path / "x", is_zip))


@FORMATS
@pytest.mark.parametrize("keep", [0, 3, 40, 200, 0.5, -1])
def test_a_truncated_file(keep: float, is_zip: bool, tmp_path: Path) -> None:
    path = save({"a": torch.ones(400), "b": torch.ones(4)}, tmp_path / "x.bin", is_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep == 0.5 else int(keep)])
    assert refused(path).startswith(f"{path} is damaged or no torch file")


def test_a_changed_byte(tmp_path: Path) -> None:
    path = save({"a": torch.ones(400)}, tmp_path / "x.bin", True)
    data = bytearray(path.read_bytes())
    data[data.index(np.ones(8, np.float32).tobytes())] ^= 1
    path.write_bytes(data)
    assert "Bad CRC-32" in refused(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(1, (4,), (1,)), (-1, (4,), (1,)), (0, (2, 2), (2, 2)), (0, (9**9,), (0,))]
)
def test_a_tensor_outside_its_storage(offset: int, size: tuple, stride: tuple, tmp_path: Path) -> None:
    """Written by hand, as torch writes no such thing."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, thing):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if thing == "numbers" else None

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, ("numbers", offset, size, stride, False, {})

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"a": Tensor()})
    path = tmp_path / "x.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", buffer.getvalue())
        archive.writestr("x/data/0", np.ones(4, np.float32).tobytes())
    assert f"a tensor of {size} lies outside its storage 0" in refused(path)


def test_another_byte_order(tmp_path: Path) -> None:
    path = save({"a": torch.ones(2)}, tmp_path / "x.bin", True)
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, b"big" if name.endswith("byteorder") else data)
    assert "big-endian" in refused(path)


@FORMATS
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "complex64", "uint16"])
def test_a_type_that_numpy_lacks_is_named_with_its_tensor(dtype: str, is_zip: bool, tmp_path: Path) -> None:
    strange = torch.zeros(2, 3).to(getattr(torch, dtype))
    message = refused(save({"a": torch.zeros(2), "b.weight": strange, "c": strange}, tmp_path / "x.bin", is_zip))
    assert message.startswith(f"{tmp_path / 'x.bin'}: b.weight is of type ") and "(2 such tensors in all)" in message
    assert (dtype in message or "ComplexFloat" in message) and "\n" not in message


@pytest.mark.parametrize("name", ["x/data.pkl", "x/data/0"])
def test_a_compressed_archive_is_refused(name: str, tmp_path: Path) -> None:
    """A small file could unpack to more than the memory holds."""
    save({"a": torch.zeros(1000)}, tmp_path / "x.bin", True)
    with zipfile.ZipFile(tmp_path / "x.bin") as old, zipfile.ZipFile(tmp_path / "y.bin", "w") as new:
        for info in old.infolist():
            kind = zipfile.ZIP_DEFLATED if info.filename == name else zipfile.ZIP_STORED
            new.writestr(info.filename, old.read(info), kind)
    assert f"its {name} is compressed, which torch does not do" in refused(tmp_path / "y.bin")


@pytest.mark.parametrize("length", [-1, 10**9, 2**62])
def test_a_storage_longer_than_its_file(length: int, tmp_path: Path) -> None:
    path = save({"a": torch.arange(3.0)}, tmp_path / "x.bin", False)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + length.to_bytes(8, "little", signed=True) + content[-12:])
    assert f"of {length} numbers is longer than the file" in refused(path)


def test_a_text_longer_than_its_file(tmp_path: Path) -> None:
    """Its length is not allocated."""
    path = save({"a": torch.arange(3.0)}, tmp_path / "x.bin", False)
    content = path.read_bytes()
    path.write_bytes(content[:2] + pickle.BINUNICODE8 + (2**62).to_bytes(8, "little") + content[2:])
    assert f"expected {2**62} bytes in a unicodestring8" in refused(path)
