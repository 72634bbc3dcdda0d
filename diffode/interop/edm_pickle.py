"""Pickles read as data: no object is made, no name is looked up, nothing is called.

A pickle is a program for a small stack machine, and Python's own reader calls what the program
names. Here the machine is written out: a name stays a name, and a call is put down as a `Record`
of what would have been called with what. Names outside of a short list end the reading, and so do
sizes beyond what a file of weights has. There is no other way to read such a file here.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass
from typing import Any

from diffode.inputs import quoted

MOST_STEPS = 2_000_000  # of the machine: a network of a thousand layers takes 300,000
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
STORAGE, BYTES = "storage", "torch.storage._load_from_bytes"
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"

_DICTS = {"collections.OrderedDict", "dnnlib.util.EasyDict"}
_SETS = {"builtins.set", "__builtin__.set"}
_ENCODED, _NO_BYTES = "_codecs.encode", "__builtin__.bytes"  # how protocol 2 writes bytes
_CALLED = {PERSISTENT, BYTES, TENSOR, PARAMETER, "numpy.dtype", _ENCODED, _NO_BYTES} | {
    f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")
}
_VALUES = {"torch.float16", "torch.float32", "torch.float64", "torch.bfloat16"}
_MODULES = "torch.nn.modules."

_PLAIN = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME", "STOP"}


@dataclass(frozen=True)
class Name:
    """Something that a file names, ``module.attribute``; it is never looked up."""

    text: str


@dataclass(eq=False)
class Record:
    """What a file would have made: the name of what makes it, the arguments, and its state."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


class Refused(ValueError):
    """A pickle that asks for more than data, or is damaged."""


def read_pickle(data: bytes, *, stored: bool = False) -> Any:  # noqa: ANN401
    """What a pickle holds, as plain data and records.

    Arguments:
        data: the pickle.
        stored: whether tensors may refer to storages beside it, as in an archive of torch.

    Raises:
        Refused: a name that is not on the list, a damaged file, or one of absurd size.
    """
    return read_next(io.BytesIO(data), stored=stored)


def read_next(stream: io.BytesIO, *, stored: bool = False) -> Any:  # noqa: ANN401
    """What the next of several pickles holds, see `read_pickle`."""
    start = stream.tell()
    if stream.getvalue()[start : start + 1] != b"\x80":
        raise Refused("it is no pickle as weights are written")
    machine = _Machine(stored)
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if step >= MOST_STEPS:
                raise Refused(f"it takes more than {MOST_STEPS:,} steps to read")
            machine.take(opcode.name, argument)
        return machine.stack.pop()
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError):
        raise Refused("it is no pickle, or a damaged one") from None


class _Machine:
    """The stack machine of pickles, for data alone."""

    def __init__(self, stored: bool) -> None:
        self.stored = stored
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def take(self, name: str, argument: Any) -> None:  # noqa: ANN401
        """Carry out one opcode."""
        stack = self.stack
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            stack[-_SHORT_TUPLES[name] :] = [self._last(_SHORT_TUPLES[name])]
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "GLOBAL":
            stack.append(_named(*argument.split(" ", 1)))
        elif name not in _NOTHING:
            self._build(name)

    def _last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError
        return tuple(self.stack[-count:])

    def _from_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _build(self, name: str) -> None:
        """An opcode that makes one thing of several."""
        stack = self.stack
        if name == "TUPLE":
            stack.append(tuple(self._from_mark()))
        elif name == "LIST":
            stack.append(self._from_mark())
        elif name == "DICT":
            stack.append(_filled({}, self._from_mark()))
        elif name == "APPEND":
            _listed(stack[-2]).append(stack.pop())
        elif name == "APPENDS":
            items = self._from_mark()
            _listed(stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = self._from_mark() if name == "SETITEMS" else [*self._last(2)]
            if name == "SETITEM":
                del stack[-2:]
            _filled(stack[-1], pairs)
        elif name == "ADDITEMS":
            items = self._from_mark()
            _added(stack[-1], items)
        elif name == "POP":
            stack.pop()
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_named(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(_called(called, arguments, new=name == "NEWOBJ"))
        elif name == "BUILD":
            state = stack.pop()
            _given(stack[-1], state)
        elif name == "BINPERSID" and self.stored:
            stack.append(_storage(stack.pop()))
        else:
            raise Refused(f"it has the instruction {name}, which no file of weights needs")


def _named(module: object, attribute: object) -> Name:
    """A name on the list.

    Raises:
        Refused: any other.
    """
    if type(module) is not str or type(attribute) is not str:
        raise Refused("it names what is no name")
    text = f"{module}.{attribute}"
    kind = module == "torch" and attribute.endswith("Storage") and attribute.isalpha()
    layer = f"{module}.".startswith(_MODULES) and attribute.isalnum()
    if not (kind or layer or text in _DICTS | _SETS | _CALLED | _VALUES):
        raise Refused(
            f"it asks for {quoted(text)}, which no file of weights needs; it may be made to run "
            "code, and nothing of it was run"
        )
    return Name(text)


def _called(called: object, arguments: object, *, new: bool) -> Any:  # noqa: ANN401
    """What a call stands for: a dict, a set, bytes, or the record of the call."""
    if type(called) is not Name or type(arguments) is not tuple:
        raise Refused("it calls what is no name")
    name = called.text
    if name in _DICTS and not arguments:
        return {}
    if name in _SETS and not new and len(arguments) <= 1:
        return _added(set(), arguments[0] if arguments else [])
    if name == _ENCODED and len(arguments) == 2 and type(arguments[0]) is str:
        return arguments[0].encode("latin-1")
    if name == _NO_BYTES and not arguments:
        return b""
    if name.startswith(_MODULES) if new else name in _CALLED:
        return Record(name, arguments)
    raise Refused(f"it calls {quoted(name)} as no file of weights does; nothing of it was run")


def _given(made: object, state: object) -> None:
    """Put down the state of a record; what a dict has beside its items is dropped."""
    if type(made) is Record and made.state is None:
        made.state = state
    elif type(made) is not dict:
        raise Refused("it changes what is no object of its own")


def _storage(identity: object) -> Record:
    """The record of a storage beside the pickle: its type, key and count."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Refused("it refers to what is no storage")
    _, kind, key, _, count = identity[:5]
    if type(kind) is not Name or type(key) is not str or type(count) is not int or count < 0:
        raise Refused("it refers to a storage that is none")
    return Record(STORAGE, (kind.text, key, count))


def _is_key(key: object) -> bool:
    """Whether this can be looked up in constant time, whoever wrote the file."""
    return key is None or type(key) in (str, bool) or (type(key) is int and abs(key) < 2**31)


def _listed(value: object) -> list[Any]:
    if type(value) is not list:
        raise Refused("it appends to what is no list")
    return value


def _filled(value: object, pairs: list[Any]) -> dict[Any, Any]:
    keys = pairs[::2]
    if type(value) is not dict or len(pairs) % 2 or not all(map(_is_key, keys)):
        raise Refused("it fills a table with other keys than texts and numbers")
    value.update(zip(keys, pairs[1::2], strict=True))
    return value


def _added(value: object, items: object) -> set[Any]:
    if type(value) is not set or type(items) is not list or not all(map(_is_key, items)):
        raise Refused("it fills a set with other things than texts and numbers")
    value.update(items)
    return value
