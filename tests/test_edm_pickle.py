"""A pickle is read as data: hostile, damaged and absurd ones are refused, and run nothing."""

import io
import os
import pickle
import pickletools
import struct
import time
from collections import OrderedDict

import pytest
import torch

from diffode.interop import from_edm
from diffode.interop.edm_pickle import TENSOR, Name, Record, Refused, read_pickle
from tests.edm_pickles import Calling, Persistent, content, dumped, write


def op(name):
    """An instruction of a pickle, by its name."""
    return next(o.code.encode("latin-1") for o in pickletools.opcodes if o.name == name)


def text(value):
    return op("BINUNICODE") + struct.pack("<I", len(value)) + value.encode()


def named(module, attribute):
    return op("GLOBAL") + f"{module}\n{attribute}\n".encode()


def whole(*parts):
    return op("PROTO") + b"\x04" + b"".join(parts) + op("STOP")


ROOTS = {
    "os.system": lambda mark: Calling(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Calling(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.getattr": lambda mark: Calling(getattr, os, "system"),
    "builtins.__import__": lambda mark: Calling(__import__, "os"),
    "torch.load": lambda mark: Calling(torch.load, str(mark)),
}


@pytest.mark.parametrize("what", ROOTS)
@pytest.mark.parametrize("place", ["alone", "beside", "in the state", "in a tensor's place"])
def test_calls_are_refused_and_not_made(tmp_path, what, place):
    mark = tmp_path / "mark"
    if what == "builtins.getattr":
        hostile = named("os", "system")  # a module is no pickle: the name itself
        data = whole(named("builtins", "getattr"), hostile, op("TUPLE1"), op("REDUCE"))
    else:
        hostile = ROOTS[what](mark)
        said = content("ddpmpp")
        outer = said["ema"].meta["state"]
        if place == "in the state":
            outer["_modules"]["model"].meta["state"]["hook"] = [{"deep": (hostile,)}]
        elif place == "in a tensor's place":
            outer["_modules"]["model"].meta["state"]["_buffers"]["x"] = hostile
        data = dumped({"alone": hostile, "beside": {**said, "x": hostile}}.get(place, said))
    file = tmp_path / "net.pkl"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"asks for.*nothing of it was run") as caught:
        from_edm(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_refused_alike(tmp_path, protocol):
    data = dumped(Calling(os.system, f"touch {tmp_path / 'mark'}"), protocol)
    with pytest.raises(Refused, match="system" if protocol > 1 else "no pickle as weights"):
        read_pickle(data)
    assert not (tmp_path / "mark").exists()


def test_source_in_the_file_is_not_run(tmp_path):
    file = write(tmp_path / "net.pkl")
    assert b"raise SystemExit" in file.read_bytes()
    from_edm(file)


TRICKS = {
    "a class of torch is called": [
        named("torch.nn.modules.linear", "Linear"),
        *(op("EMPTY_TUPLE"), op("REDUCE")),
    ],
    "what a call gives is called": [
        named("numpy", "dtype"),
        *(op("EMPTY_TUPLE"), op("REDUCE"), op("EMPTY_TUPLE"), op("REDUCE")),
    ],
    "a text is called": [text("os.system"), op("EMPTY_TUPLE"), op("REDUCE")],
    "a name is changed": [named("numpy", "dtype"), op("EMPTY_DICT"), op("BUILD")],
    "a name that goes through others": [named("torch.nn.modules", "os.system")],
    "a name of dots": [named("torch.nn.modules.linear", "Linear.__init__.__globals__")],
    "a name of no text": [op("NONE"), op("NONE"), op("STACK_GLOBAL")],
    "a storage without an archive": [op("NONE"), op("BINPERSID")],
    "an old instance": [op("MARK"), op("INST") + b"os\nsystem\n"],
    "an object": [op("MARK"), named("numpy", "dtype"), op("OBJ")],
    "a registered extension": [op("EXT1") + b"\x01"],
    "a key that takes for ever to hash": [
        op("EMPTY_DICT"),
        op("EMPTY_TUPLE"),
        *([op("MEMOIZE"), op("BINGET") + b"\x00", op("TUPLE2")] * 1),
        op("NONE"),
        op("SETITEM"),
    ],
    "a set of things": [op("EMPTY_SET"), op("MARK"), op("EMPTY_TUPLE"), op("ADDITEMS")],
}


@pytest.mark.parametrize("what", TRICKS)
def test_tricks_are_refused(what):
    with pytest.raises(Refused):
        read_pickle(whole(*TRICKS[what]))


def test_what_is_read_is_data_alone():
    value = {"a": [1, -2.5, None, True, b"x", (1, 2)], "b": OrderedDict(c=3), "d": {4}}
    assert read_pickle(pickle.dumps(value, 4)) == value
    assert read_pickle(pickle.dumps(value["a"][:4], 2)) == value["a"][:4]
    made = read_pickle(pickle.dumps(torch.nn.ReLU(), 4))
    assert type(made) is Record and made.name == "torch.nn.modules.activation.ReLU"
    assert type(read_pickle(whole(named("numpy", "dtype")))) is Name


def test_memo_bombs_cost_nothing(tmp_path):
    doubled = b"".join(
        op("BINPUT") + bytes([k]) + op("POP") + (op("BINGET") + bytes([k])) * 2 + op("TUPLE2")
        for k in range(60)
    )
    file = tmp_path / "net.pkl"
    file.write_bytes(whole(op("EMPTY_TUPLE"), doubled))  # of 2^60 parts, were it walked
    begun = time.process_time()
    with pytest.raises(ValueError, match="no 'ema'"):
        from_edm(file)
    assert time.process_time() - begun < 60


@pytest.mark.parametrize("levels", [40, 25])
def test_modules_that_hold_each_other_are_no_network(tmp_path, levels):
    said = content("ddpmpp")
    part = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    for _ in range(levels):  # each twice in the next: 2^levels modules, were they walked
        inner = Persistent("Twice", part)
        part = {"_parameters": {}, "_buffers": {}, "_modules": {"a": inner, "b": inner}}
    said["ema"].meta["state"]["_modules"]["model"] = Persistent("SongUNet", part)
    file = tmp_path / "net.pkl"
    file.write_bytes(dumped(said))
    with pytest.raises(ValueError, match="without end"):
        from_edm(file)


def test_a_module_inside_itself_is_no_network(tmp_path):
    said = content("ddpmpp")
    state = said["ema"].meta["state"]
    state["_modules"]["again"] = torch.nn.ModuleDict.__new__(torch.nn.ModuleDict)
    vars(state["_modules"]["again"]).update(state)
    file = tmp_path / "net.pkl"
    file.write_bytes(dumped(said))
    with pytest.raises(ValueError, match="without end"):
        from_edm(file)


HUGE = {
    "bytes": op("BINBYTES8") + struct.pack("<Q", 2**60),
    "a text": op("BINUNICODE8") + struct.pack("<Q", 2**60),
    "a number": op("LONG4") + struct.pack("<i", 2**31 - 1),
    "a frame": op("FRAME") + struct.pack("<Q", 2**62),
}


@pytest.mark.parametrize("what", HUGE)
def test_declared_sizes_take_no_memory(what):
    with pytest.raises(Refused, match="damaged"):
        read_pickle(b"\x80\x04" + HUGE[what] + b"abc")


def test_endless_instructions_are_cut_off():
    with pytest.raises(Refused, match="steps to read"):
        read_pickle(whole(op("NONE") * 2_000_001))


def changed_tensor(**changed):
    """The content of a file in which one tensor says something else of itself."""
    said = content("ddpmpp")
    layer = said["ema"].meta["state"]["_modules"]["model"].meta["state"]["_modules"]["map_layer1"]
    weight = layer.meta["state"]["_parameters"]["weight"].data
    said_of = {"start": 0, "size": tuple(weight.shape), "stride": weight.stride(), **changed}
    storage = said_of.get("storage", weight._typed_storage())
    rebuild = getattr(torch._utils, TENSOR.rpartition(".")[2])
    parts = storage, said_of["start"], said_of["size"], said_of["stride"], False, OrderedDict()
    layer.meta["state"]["_parameters"]["weight"] = Calling(rebuild, *parts)
    return said


SHAPES = {
    "beyond its storage": dict(start=1),
    "repeated": dict(size=(2**30, 2**30), stride=(0, 0)),
    "of negative size": dict(size=(-1, -1)),
    "of negative stride": dict(stride=(-1, 1)),
    "of no whole numbers": dict(size=(32.0, 32)),
    "of no storage": dict(storage=None),
    "of whole numbers": dict(storage=torch.arange(1024)._typed_storage()),
}


@pytest.mark.parametrize("what", SHAPES)
def test_tensors_stay_inside_their_storage(tmp_path, what):
    file = tmp_path / "net.pkl"
    file.write_bytes(dumped(changed_tensor(**SHAPES[what])))
    with pytest.raises(ValueError, match=r"is refused: it has a (tensor|storage)"):
        from_edm(file)


def test_a_storage_that_is_a_hostile_pickle_is_refused(tmp_path):
    hidden = pickle.dumps(Calling(os.system, f"touch {tmp_path / 'mark'}"))
    packed = io.BytesIO()
    torch.save(torch.ones(7)._typed_storage(), packed, _use_new_zipfile_serialization=False)
    good, other = packed.getvalue(), io.BytesIO()
    torch.save({"x": 1}, other, _use_new_zipfile_serialization=False)
    huge = good.replace(b"K\x07", op("LONG1") + b"\x06" + (2**40).to_bytes(6, "little"))
    cases = (hidden, other.getvalue(), good[:40] + hidden, good[:-30], huge, b"")
    for data in cases:
        said = changed_tensor(storage=Calling(torch.storage._load_from_bytes, data))
        file = tmp_path / "net.pkl"
        file.write_bytes(dumped(said))
        with pytest.raises(ValueError, match=r"damaged storage|not as large as it says"):
            from_edm(file)
    assert not (tmp_path / "mark").exists()
