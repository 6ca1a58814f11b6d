"""Files as torch.save writes them, in both containers, byte for byte, without torch. test_torch_pickle.py proves it."""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import sys
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any
from unittest import mock

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}

MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
PROLOGUE = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, MACHINE))


def _torch() -> dict[str, ModuleType]:
    """Modules of nothing but the names that a pickle of tensors refers to."""
    modules = {name: ModuleType(name) for name in ("torch", "torch._utils")}
    names = [("torch", name) for name in STORAGES.values()]
    names += [("torch._utils", f"_rebuild_{what}") for what in ("tensor", "tensor_v2")]
    names += [("torch._utils", f"_rebuild_{what}") for what in ("parameter", "parameter_with_state")]
    for module, name in names:
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    return modules


TORCH = _torch()


@dataclass(frozen=True, eq=False)
class Stored:
    """The numbers of a storage, bfloat16 as its bits. The pickle may say another count, and speak of a view."""

    dtype: str
    numbers: np.ndarray
    said: int | None = None
    view: tuple[str, int, int] | None = None

    def identity(self, key: str, container: str) -> tuple[object, ...]:
        count = self.numbers.size if self.said is None else self.said
        parts = ("storage", getattr(TORCH["torch"], STORAGES[self.dtype]), key, "cpu", count)
        return parts if container == "zip" else (*parts, self.view)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage, rebuilt by one of torch's functions."""

    stored: Stored
    offset: Any
    size: Any
    stride: Any
    rebuild: str = "tensor_v2"

    def __reduce__(self) -> tuple[object, ...]:
        arguments: tuple[object, ...] = (self.stored, self.offset, _anew(self.size), _anew(self.stride))
        if self.rebuild != "tensor":
            arguments += (False, OrderedDict())
        return getattr(TORCH["torch._utils"], f"_rebuild_{self.rebuild}"), arguments


@dataclass(frozen=True, eq=False)
class Parameter:
    """A tensor to be trained, with the attributes that it may have been given."""

    data: Tensor
    state: Mapping[str, object] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        rebuild = "_rebuild_parameter" if self.state is None else "_rebuild_parameter_with_state"
        state = () if self.state is None else (self.state,)
        return getattr(TORCH["torch._utils"], rebuild), (self.data, True, OrderedDict(), *state)


def tensor(numbers: Any, dtype: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """A contiguous tensor with a storage of its own, in one row if no shape is given."""
    array = np.array(numbers, "float32" if dtype == "bfloat16" else dtype)
    if dtype == "bfloat16":
        array = (array.view(np.uint32) >> 16).astype(np.uint16)
    size = (array.size,) if shape is None else shape
    stride = tuple(int(np.prod([n or 1 for n in size[axis + 1 :]], dtype=int)) for axis in range(len(size)))
    return Tensor(Stored(dtype, array.reshape(-1)), 0, size, stride)


def state_dict(tensors: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """What a module's state_dict() gives: a mapping that has the versions of its modules for an attribute."""
    state = OrderedDict(tensors)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return state


def pickled(value: object, container: str, keys: Iterable[str] = ()) -> tuple[bytes, dict[str, Stored]]:
    """The pickle of a value, and the storages in it by their keys, which are counted from 0 unless they are given."""
    fresh = itertools.chain(keys, map(str, itertools.count()))
    known: dict[Stored, str] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: object) -> object:
            if not isinstance(found, Stored):
                return None
            if found not in known:
                known[found] = next(fresh)
            return found.identity(known[found] if container == "zip" else _anew(known[found]), container)

    file = io.BytesIO()
    with mock.patch.dict(sys.modules, TORCH):
        Pickler(file, 2).dump(value)
    return file.getvalue(), {key: stored for stored, key in known.items()}


def _anew(value: Any) -> Any:
    """The same value as an object of its own, since a pickle refers back to an object that it has met before."""
    return (
        type(value)(list(value)) if isinstance(value, tuple) else f"{value} "[:-1] if isinstance(value, str) else value
    )


@dataclass(frozen=True)
class Record:
    """A record of an archive, and what the archive's directory is to say of it instead of the truth."""

    name: str
    content: bytes
    method: int = 0
    flags: int = 0
    size: int | None = None
    packed: int | None = None
    offset: int | None = None


def records(
    program: bytes,
    storages: Mapping[str, Stored] = MappingProxyType({}),
    root: str = "archive",
    byteorder: bytes = b"little",
    identifier: bytes = b"0" * 40,
) -> dict[str, Record]:
    """The records that torch 2.13 writes for a pickle and its storages, by their names within the archive."""
    contents = {"data.pkl": program, ".format_version": b"1", ".storage_alignment": b"64", "byteorder": byteorder}
    contents |= {f"data/{key}": stored.numbers.tobytes() for key, stored in storages.items()}
    contents |= {"version": b"3\n", ".data/serialization_id": identifier}
    return {name: Record(f"{root}/{name}", content) for name, content in contents.items()}


def archive(records: Iterable[Record]) -> bytes:
    """A zip archive as torch lays it out: every content begins at a multiple of 64, the directory is a 64-bit one."""
    body, directory, total = bytearray(), bytearray(), 0
    for record in records:
        name, size, crc = record.name.encode(), len(record.content), zlib.crc32(record.content)
        flags = record.flags | (0x0808 if size else 0x0800)
        told = [size if said is None else said for said in (record.packed, record.size)]
        start = len(body) if record.offset is None else record.offset
        directory += struct.pack("<4s6H3L", b"PK\1\2", 0, 0, flags, record.method, 0, 0, crc, *told)
        directory += struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, start) + name
        padding = -(len(body) + 34 + len(name)) % 64
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 0, flags, record.method, 0, 0, 0, 0, 0, len(name), padding + 4)
        body += name + struct.pack("<2sH", b"FB", padding) + b"Z" * padding + record.content
        body += struct.pack("<4s3L", b"PK\7\x08", crc, size, size) if size else b""
        total += 1
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0x031E, 45, 0, 0, total, total, len(directory), len(body))
    end += struct.pack("<4sLQL", b"PK\6\7", 0, len(body) + len(directory), 1)
    end += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(directory), len(body), 0)
    return bytes(body + directory + end)


def contained(
    program: bytes, container: str, storages: Mapping[str, Stored] = MappingProxyType({}), **given: Any
) -> bytes:
    """A pickle and its storages in a container: 'zip' since PyTorch 1.6, 'pickles' before that."""
    if container == "zip":
        return archive(records(program, storages, **given).values())
    counted = (
        struct.pack("<Q", storages[key].numbers.size) + storages[key].numbers.tobytes() for key in sorted(storages)
    )
    return PROLOGUE + program + pickle.dumps(sorted(storages), 2) + b"".join(counted)


def saved(value: object, container: str, keys: Iterable[str] = (), **given: Any) -> bytes:
    """A value as torch.save writes it in a container."""
    program, storages = pickled(value, container, keys)
    return contained(program, container, storages, **given)
