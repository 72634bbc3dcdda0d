"""Files in EDM's and PFGM++'s format: damaged bytes, changed opcodes, and what would run code."""

import functools
import io
import os
import pickle
import pickletools
import zipfile
from itertools import pairwise

import torch

from tests.edm_pickles import Calling, dumped, write, write_archive
from tests.fuzz.dice import HOSTILE, HUGE, odd

COMMANDS = ["sample {file} --samples 2 --nfe 3 --out out.npz", "convert {file} --out folder"]
TOUCH = "touch ../executed"
CALLS = [
    (os.system, TOUCH),
    (eval, "open('../executed', 'w')"),
    (exec, "open('../executed', 'w')"),
    (open, "../executed", "w"),
    (open, "../outside/secret.npy"),
    (bytearray, 2**34),
    (torch.load, "../outside/secret.npy"),
    (__import__, "canary"),
    (getattr, "", "__class__"),
    (functools.partial, os.system, TOUCH),
    (pickle.loads, b"cos\nsystem\n(S'touch ../executed'\ntR."),
]
TEXTS = [
    b"cos\nsystem\n(S'touch ../executed'\ntR.",
    b"\x80\x02cos\nsystem\nX\x11\x00\x00\x00touch ../executed\x85R.",
    b"\x80\x04]" + b"]" * 10**5,
    b"\x80\x04" + b"(" * 10**6 + b".",
    b"\x80\x04" + b"]\x94h\x00h\x00\x86" * 20000 + b".",
    b"\x80\x04\x8e" + (2**62).to_bytes(8, "little"),
    b"\x80\x04X\xff\xff\xff\x7f",
    b"\x80\x04\x8b\xff\xff\xff\x7f",
    b"\x80\x02(lp0\nh\x00a.",
    b"\x80\x04]\x94h\x00a.",
    b"\x80\x04P1\n.",
    b"\x80\x02\x82\x01.",
]
STEPS = [b"R", b"b", b"\x81", b"\x93", b"(", b"0", b"2", b"t", b"Q"]
NAMES = [b"os", b"posix", b"builtins", b"subprocess", b"torch.hub", b"canary", b"a\nb", b"\xff"]


def make(dice, place):
    """A file, and a command that reads it."""
    name = dice.choice(["net.pkl", "net.pkl", "state.pt"])
    data = (_archive if name == "state.pt" else _pickle)(dice)
    with open(name, "wb") as file:
        file.write(data)
    return dice.choice(COMMANDS).format(file=name).split()


@functools.cache
def _sound(kind):
    """The bytes of a sound file; in memory, where no command lies."""
    make_, name = {"pickle": (write, "sound.pkl"), "archive": (write_archive, "sound.pt")}[kind]
    file = make_(name)
    with open(file, "rb") as stream:
        data = stream.read()
    os.remove(file)
    return data


def _pickle(dice):
    data, how = _sound("pickle"), dice.random()
    if how < 0.1:
        return dice.choice(TEXTS)
    if how < 0.25:
        function, *arguments = dice.choice(CALLS)
        content = {"ema": Calling(function, *arguments), "x": 1}
        return dumped(content, dice.choice([2, 3, 4, 5]))
    if how < 0.35:
        return dumped({dice.choice(["ema", *HOSTILE[:6]]): odd(dice)}, dice.choice([2, 4]))
    if how < 0.7:
        return _other_opcodes(dice, data)
    return dice.damaged(data) if how < 0.95 else data


def _other_opcodes(dice, data):
    """A pickle with a few of its steps left out, doubled, exchanged or given another argument."""
    places = [place for _, _, place in pickletools.genops(data)] + [len(data)]
    steps = [data[a:b] for a, b in pairwise(places)]
    for _ in range(dice.randint(1, 3)):
        k, other = dice.randrange(len(steps)), dice.randrange(len(steps))
        how = dice.randrange(6)
        if how == 0:
            del steps[k]
        elif how == 1:
            steps.insert(k, steps[k])
        elif how == 2:
            steps[k], steps[other] = steps[other], steps[k]
        elif how == 3:
            steps.insert(
                k, dice.choice([b"R", b"b", b"\x81", b"\x93", b"(", b"0", b"2", b"t", b"Q"])
            )
        elif how == 4:
            steps[k] = (
                b"c" + dice.choice(NAMES) + b"\n" + dice.choice([b"system", b"load", b"x"]) + b"\n"
            )
        else:
            steps[k] = pickle.dumps(dice.choice([*HUGE, -1, 0, 1e308, None, "x"]), 2)[2:-1]
    return b"".join(steps)


def _archive(dice):
    """An archive of torch with members left out, changed, renamed or grown."""
    with zipfile.ZipFile(io.BytesIO(_sound("archive"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pkl = next(name for name in parts if name.endswith("data.pkl"))
    name = pkl if dice.often(0.4) else dice.choice(sorted(parts))
    how = dice.randrange(8)
    if how == 0:
        del parts[name]
    elif how == 1:
        parts[name] = dice.damaged(parts[name])
    elif how == 2:
        parts[dice.choice(["../../executed", "/etc/x", "a/../b", *HOSTILE[:4]])] = b"x"
    elif how == 3:
        parts[name] = bytes(dice.choice([0, 1, 2**20]))
    elif how == 4 and name.endswith(".pkl"):
        parts[name] = _other_opcodes(dice, parts[name])
    elif how == 5:
        function, *arguments = dice.choice(CALLS)
        parts[pkl] = dumped(Calling(function, *arguments))
    packing = zipfile.ZIP_DEFLATED if dice.often(0.1) else zipfile.ZIP_STORED
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for member, data in parts.items():
            archive.writestr(member, data)
    return dice.damaged(file.getvalue()) if how >= 6 else file.getvalue()
