"""Read the tensors of a `torch.save` file without torch and without executing its pickle.

Unpickling runs whatever functions a pickle names. Here its operations are only parsed (`pickletools.genops`), and those
that build a dictionary of tensors are interpreted; no named module is imported and no named function is called. Both
formats of torch are supported: the zip archive since torch 1.6, and the sequence of pickles before.
"""

import io
import math
import mmap
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import ml_dtypes
import numpy as np

from bert_jax.errors import InputError

_DTYPES = {
    "torch FloatStorage": np.float32,
    "torch HalfStorage": np.float16,
    "torch BFloat16Storage": ml_dtypes.bfloat16,
    "torch DoubleStorage": np.float64,
    "torch LongStorage": np.int64,
    "torch IntStorage": np.int32,
    "torch ShortStorage": np.int16,
    "torch CharStorage": np.int8,
    "torch ByteStorage": np.uint8,
    "torch BoolStorage": np.bool_,
}
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError),
    *(struct.error, zipfile.BadZipFile, NotImplementedError, zlib.error),
)
"""Errors that a damaged file leads to."""
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_Stream = IO[bytes]
"""A stream that allocates no more than it holds, whatever length a damaged pickle asks for."""
_Value = Any
"""A value of any type that a pickle can hold."""


class _Storage(NamedTuple):
    """A flat array of numbers. dtype: its name in torch if it is unsupported. key: in the file. length: in numbers."""

    dtype: np.dtype | type | str
    key: str
    length: int


class _Tensor(NamedTuple):
    """A strided view of a storage, which several tensors may share."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


_REBUILD: dict[str, Callable[..., _Value]] = {
    "collections OrderedDict": dict,
    "torch Size": tuple,
    "torch._utils _rebuild_tensor": _Tensor,
    "torch._utils _rebuild_tensor_v2": lambda *args: _Tensor(*args[:4]),
    "torch._utils _rebuild_tensor_v3": lambda storage, offset, size, stride, grad, hooks, dtype: _Tensor(
        storage._replace(dtype=dtype), offset, size, stride
    ),
    "torch._utils _rebuild_parameter": lambda *args: args[0],
}
"""Name in the pickle of a tensor file -> function that replaces it."""

_UNSUPPORTED = re.compile(r"torch (\w+Storage|[a-z]+\d\w*)|torch\.storage UntypedStorage")
"""Names of types in the pickle that are not in `_DTYPES`. The last one is replaced by the type of the tensor."""

_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict, in their saved types.

    Raises:
        InputError: the file is damaged, holds anything but tensors by name, or would run code when unpickled.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            if start == b"PK":
                with zipfile.ZipFile(file) as archive:
                    return _from_zip(path, archive)
            if start[:1] != b"\x80":
                raise ValueError("it is neither a zip archive nor a pickle")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
                return _from_pickles(path, cast(_Stream, stream))
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged or no torch file ({error}); fetch or save it again") from error


def _from_zip(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("it has no data.pkl")
    root = names[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise InputError(f"{path} was saved on a big-endian machine, which is not supported; save it again elsewhere")
    tensors = _state_dict(path, _follow(path, io.BytesIO(_stored(archive, names[0]))))
    storages = {key: _stored(archive, f"{root}data/{key}") for key in {x.storage.key for x in tensors.values()}}
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file of an archive; a compressed one could unpack to more than the memory holds."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"its {name} is compressed, which torch does not do")
    return archive.read(name)


def _from_pickles(path: Path, file: _Stream) -> dict[str, np.ndarray]:
    """Read the format before torch 1.6: pickles of magic number, version, system, object, keys; then the numbers."""
    if _follow(path, file) != _LEGACY_MAGIC:
        raise ValueError("it does not start with the magic number of torch")
    _version, system, content, keys = (_follow(path, file) for _ in range(4))
    if not system["little_endian"]:
        raise InputError(f"{path} was saved on a big-endian machine, which is not supported; save it again elsewhere")
    tensors = _state_dict(path, content)
    dtypes = {tensor.storage.key: np.dtype(tensor.storage.dtype) for tensor in tensors.values()}
    storages = {}
    left = path.stat().st_size
    for key in keys:
        (length,) = struct.unpack("<q", file.read(8))
        if not 0 <= length * dtypes[key].itemsize <= left:
            raise ValueError(f"storage {key} of {length} numbers is longer than the file")
        storages[key] = file.read(length * dtypes[key].itemsize)
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _state_dict(path: Path, content: object) -> dict[str, _Tensor]:
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no tensors by name; save model.state_dict(), not the model")
    others = [repr(name) for name, value in content.items() if not isinstance(value, _Tensor)]
    if others:
        raise InputError(f"{path} holds things other than tensors: {', '.join(others)}; save model.state_dict() alone")
    types = {name: tensor.storage.dtype for name, tensor in content.items()}
    refuse_types(path, {name: dtype.removeprefix("torch ") for name, dtype in types.items() if isinstance(dtype, str)})
    return content


def refuse_types(path: Path, unsupported: Mapping[str, str]) -> None:
    """Refuse a file with tensors that NumPy cannot hold, such as the 8-bit floats of quantised models.

    Args:
        path: the file.
        unsupported: name of such a tensor -> its type.

    Raises:
        InputError: there is one.
    """
    for name, dtype in unsupported.items():
        raise InputError(
            f"{path}: {name} is of type {dtype}, which cannot be read ({len(unsupported)} such tensors in all); save "
            "the model in float32, float16 or bfloat16"
        )


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    flat = np.frombuffer(data, np.dtype(tensor.storage.dtype))
    if len(flat) != tensor.storage.length:
        raise ValueError(f"storage {tensor.storage.key} has {len(flat)} numbers, not {tensor.storage.length}")
    if math.prod(tensor.size) == 0:
        return np.zeros(tensor.size, flat.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if (
        min((tensor.offset, *tensor.size, *tensor.stride)) < 0
        or last >= len(flat)
        or math.prod(tensor.size) > len(flat)
    ):
        raise ValueError(f"a tensor of {tensor.size} lies outside its storage {tensor.storage.key}")
    strides = [step * flat.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)


def _follow(path: Path, file: _Stream) -> _Value:
    """Interpret the next pickle of a file: dictionaries, tuples, numbers, strings and `_Tensor`s."""
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[int, _Value] = {}

    def since_mark() -> list[_Value]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: _Value
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                marks.append(len(stack) - int(opcode.name[-1]))
                stack.append(tuple(since_mark()))
            case "APPEND" | "SETITEM":
                items = [stack.pop() for _ in range(2 if opcode.name == "SETITEM" else 1)][::-1]
                _extend(stack[-1], items)
            case "APPENDS" | "SETITEMS":
                items = since_mark()
                _extend(stack[-1], items)
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_known(path, argument))
            case "STACK_GLOBAL":
                module, name = stack[-2:]
                stack[-2:] = [_known(path, f"{module} {name}")]
            case "BINPERSID":
                _kind, storage, key, _location, length, *view = stack.pop()
                if any(view):
                    raise ValueError("it has views of storages")
                stack.append(_Storage(_DTYPES.get(storage, storage), key, length))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_REBUILD[stack.pop()](*arguments))
            case "BUILD":  # module versions that torch attaches to a state dict
                stack.pop()
            case other:
                raise InputError(f"{path} contains the pickle operation {other}, which tensors do not need; not loaded")
    raise EOFError("it ends early")


def _known(path: Path, name: str) -> str:
    if name in _REBUILD or name in _DTYPES or _UNSUPPORTED.fullmatch(name):
        return name
    raise InputError(
        f"{path} names {name.replace(' ', '.')}, which tensors do not need: a pickle can run code; not loaded"
    )


def _extend(container: _Value, items: list[_Value]) -> None:
    if isinstance(container, dict):
        container.update(zip(items[::2], items[1::2], strict=True))
    else:
        container.extend(items)
