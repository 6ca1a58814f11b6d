"""What a pickle that torch.save wrote describes. It is read as data: nothing in it is imported, called or executed.

A pickle is a program for a machine with a stack, which may name any function and call it. Here the few operations that
a mapping of tensors is written with are followed, the few globals that it needs are known by their names alone, and all
else is refused by name. What comes out is made of dict, list, tuple, str, numbers, None, ``Tensor`` and ``Storage``.
"""

from __future__ import annotations

import pickletools
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

OPERATIONS = {operation.code.encode("latin-1"): operation for operation in pickletools.opcodes}
FOLLOWED = {
    *("PROTO", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    "BINPERSID",
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
GLOBALS = {
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "collections.OrderedDict"),
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
    *STORAGES,
}

MOST_AXES = 32
"""As many as every NumPy can have."""

MEND = "Fetch or write it again."
SAVE = "Write it again with torch.save(model.state_dict(), path)."

short = reprlib.Repr()
"""What a file says, cut to what a sentence can hold."""
short.maxstring = short.maxother = 100
short.maxtuple = 32


@dataclass(frozen=True)
class Global:
    """The name of a function or a type; the thing itself is never looked for."""

    name: str


@dataclass(frozen=True)
class Storage:
    """So many numbers of a type, which the container keeps under a key."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, not checked against it: offset, size and stride count its numbers."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def evaluate(file: Any) -> tuple[Any, dict[str, Storage]]:
    """The value of the pickle that ``file`` stands at, and by their keys the storages that it speaks of.

    ``file``, of which only ``read`` and ``readline`` are used, stands behind the pickle afterwards. Its length bounds
    the memory and the time that this takes. Raises ValueError for whatever torch.save does not write for tensors.
    """
    try:
        return _evaluate(file)
    except LookupError:
        raise ValueError(f"its pickle is broken: it takes a value that it has not put down. {MEND}") from None


def _evaluate(file: Any) -> tuple[Any, dict[str, Storage]]:  # noqa: C901, PLR0912 - one case an operation
    stack: list[Any] = []
    beneath: list[list[Any]] = []  # the stacks under each mark
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}
    for name, argument in _operations(file):
        match name:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                stack.append(CONSTANTS[name])
            case "EMPTY_DICT" | "EMPTY_LIST":
                stack.append({} if name == "EMPTY_DICT" else [])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(items)))
            case "MARK":
                beneath.append(stack)
                stack = []
            case "TUPLE":
                items, stack = stack, beneath.pop()
                stack.append(tuple(items))
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS":
                items, stack = stack, beneath.pop()
                _extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _update(stack[-1], [key, value])
            case "SETITEMS":
                items, stack = stack, beneath.pop()
                _update(stack[-1], items)
            case "GLOBAL":
                stack.append(_global(argument.replace(" ", ".")))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                _expect(arguments, tuple)
                stack.append(_call(function, arguments))
            case "BUILD":  # an OrderedDict's attributes, which are _metadata: the versions of its modules
                _expect(stack.pop(), dict)
                _expect(stack[-1], dict)
            case "BINPERSID":
                storage = _storage(stack.pop())
                storages.setdefault(storage.key, storage)
                stack.append(storage)
    return stack.pop(), storages


def _operations(file: Any) -> Iterator[tuple[str, Any]]:
    """The operations of one pickle with their arguments, none of which is read before its operation is accepted."""
    name = ""
    while name != "STOP":
        code = file.read(1)
        if not code:
            raise ValueError(f"its pickle is cut short, or too long to be one of tensors. {MEND}")
        name = OPERATIONS[code].name if code in OPERATIONS else repr(code)
        if name not in FOLLOWED:
            raise ValueError(
                f"its pickle has the operation {name}, which torch.save does not write for tensors. {SAVE}"
            )
        kind = OPERATIONS[code].arg
        try:
            argument = kind.reader(file) if kind else None
        except ValueError as error:
            raise ValueError(f"its pickle is cut short or broken at {name}: {error}. {MEND}") from None
        yield name, argument


def _extend(target: Any, items: list[Any]) -> None:
    _expect(target, list)
    target.extend(items)


def _update(target: Any, items: list[Any]) -> None:
    _expect(target, dict)
    for place in range(0, len(items), 2):
        key, value = items[place], items[place + 1]
        _expect(key, str)
        if key in target:
            raise ValueError(f"its pickle maps {short.repr(key)} twice. {SAVE}")
        target[key] = value


def _expect(value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise ValueError(f"its pickle must have {kind.__name__} where it has {type(value).__name__}. {SAVE}")


def _global(name: str) -> Global:
    if name not in GLOBALS:
        raise ValueError(
            f"its pickle names {short.repr(name)}; it may name torch's storages of floats, integers and booleans, and "
            f"what makes tensors of them. {SAVE}"
        )
    return Global(name)


def _storage(identity: Any) -> Storage:
    """The storage of this identity. Files from before PyTorch 1.6 have a sixth part, which may make it a view."""
    match identity:
        case ("storage", Global(name), str(key), str(), int(count), *view) if name in STORAGES and view in ([], [None]):
            return Storage(key, STORAGES[name], count)
    raise ValueError(f"its pickle may refer to whole storages of numbers only; it refers to something else. {SAVE}")


def _call(function: Any, arguments: Any) -> Any:
    """What PyTorch's function would make of these arguments, as a description."""
    match function, arguments:
        case Global("collections.OrderedDict"), ():
            return {}
        case Global("torch._utils._rebuild_parameter"), (Tensor() as tensor, _, _):
            return tensor
        case Global("torch._utils._rebuild_parameter_with_state"), (Tensor() as tensor, _, _, _):
            return tensor
        case Global("torch._utils._rebuild_tensor"), (Storage() as storage, offset, size, stride):
            return _tensor(storage, offset, size, stride)
        case Global("torch._utils._rebuild_tensor_v2"), (Storage() as storage, offset, size, stride, _, _):
            return _tensor(storage, offset, size, stride)
    called = function.name if type(function) is Global else type(function).__name__
    raise ValueError(f"its pickle calls {called} otherwise than torch.save does for tensors. {SAVE}")


def _tensor(storage: Storage, offset: Any, size: Any, stride: Any) -> Tensor:
    _expect(size, tuple)
    _expect(stride, tuple)
    if len(size) != len(stride) or len(size) > MOST_AXES:
        raise ValueError(
            f"a tensor may have {MOST_AXES} axes, and a stride for each; got {len(size)} and {len(stride)}. {SAVE}"
        )
    for number in (offset, *size, *stride):
        _expect(number, int)
    return Tensor(storage, offset, size, stride)
