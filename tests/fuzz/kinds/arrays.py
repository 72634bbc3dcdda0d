"""Arrays in files: damaged, of odd types and shapes, with headers that lie; tables too."""

import io
import zipfile

import numpy as np

from tests.fuzz.dice import HOSTILE

TYPES = "f2 f4 f8 u1 i1 i2 i8 u8 ? c8 >f4 >i2 U3 S2 M8[s] m8[D] V4 f4,i2".split()  # noqa: SIM905
SHAPES = [(12, 2), (12, 8, 8), (12, 1, 8, 8), (12, 8, 8, 3), (12,), (1, 2), (0, 2), (), (12, 0)]
SHAPES += [(2, 12), (12, 1), (12, 2, 2, 2, 2), (40, 2), (12, 3, 5)]
LIES = ["(12, 2)", "(10**12,)", "(2**62, 4)", "(-1,)", "(12.5,)", "()", "(12, 2", "12", "('a',)"]
LIES += ["(" + "1," * 70 + ")", "(0, 10**18)", "__import__('os').system('touch ../executed')"]
COMMANDS = [
    "data {file}",
    "data {file} --layout images",
    "data {file} --scale standard",
    "train edm {file} --steps 1 --batch 4 --samples 20 --set width=8 --set depth=1 --device cpu",
    "train edm {file} --dry-run",
    "encode moons {file} --solver heun --nfe 3",
    "decode moons {file} --solver heun --nfe 3",
    "encode digits {file} --solver heun --nfe 3",
    "likelihood moons --data {file} --points 2 --set rtol=.1 --set atol=.1",
    "eval moons --data {file} --samples 20 --nfe 3",
    "edit digits {file} --label 1 --nfe 3 --out out.npz",
    "interpolate moons {file} --nfe 3 --out out.npz",
    "inpaint digits {file} --mask half:left --nfe 3 --out out.npz",
    "inpaint digits images.npz --mask {file} --nfe 3 --out out.npz",
    "restore moons points.npz --operator matrix:{file} --noise .1 --degrade --nfe 3 --out out.npz",
    "train rectified moons --pairs {file} --steps 1 --batch 4 --samples 20 --set width=8",
    "explore {file}",
]
SEEN = [0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
CELLS = ["1", "-2.5", "nan", "inf", "1e999", "", " ", '"', "a;b", "1,5", "=1+1", "\u0663", "0x1"]


def make(dice, place):
    """A file, and a command that reads it."""
    words = COMMANDS[dice.choice(SEEN)].split()
    apt = (12, 1, 8, 8) if "digits" in words else (12, 2)
    name = dice.choice(["a.npy", "a.npz", "a.npz"])
    if words[0] in ("data", "train", "explore", "eval") and dice.often(0.4):
        name = dice.choice(["a.csv", "a.tsv"])
    data = (_text if name[2:] in ("csv", "tsv") else _packed if name == "a.npz" else _one)(
        dice, apt
    )
    if dice.often(0.3):
        data = dice.damaged(data)
    if dice.often(0.05):
        name = dice.choice(["a.txt", "a", "a.NPY", "a.npz.npy", "\u00e9\udcff.npz", "a\nb.npy"])
    with open(name, "wb") as file:
        file.write(data)
    return [word.format(file=name) for word in words]


def _array(dice, apt):
    """An array, of apt shape and type more often than not, and mostly of numbers."""
    shape, rng = dice.choice(SHAPES), np.random.default_rng(dice.randrange(2**32))
    shape = apt if dice.often(0.7) else shape
    kind = dice.choice(TYPES) if dice.often(0.25) else "f4"
    if dice.often(0.03):
        return np.array([{"a": 1}, None, 3] * 4, object)
    with np.errstate(all="ignore"):
        array = rng.normal(size=shape) * dice.choice([1, 1, 1, 1, 1, 30, 0, 1e30, 1e-30])
        array = np.zeros(shape, kind) if kind in ("V4", "f4,i2") else _cast(array, kind)
    if array.dtype.kind in "fc" and array.size and dice.often(0.15):
        array.reshape(-1)[dice.randrange(array.size)] = dice.choice(
            [np.nan, np.inf, -np.inf, 3e38]
        )
    return np.asfortranarray(array) if dice.often(0.1) else array


def _cast(array, kind):
    plain = np.asarray(array)
    if kind[0] in "UMm" or kind[0] == "S":
        plain = np.clip(np.nan_to_num(plain), -99, 99).astype(np.int64)
    return plain.astype(kind)


def _one(dice, apt):
    """The bytes of a .npy file, the header of some of which states another array."""
    file = io.BytesIO()
    np.save(file, _array(dice, apt), allow_pickle=True)
    data = file.getvalue()
    if not dice.often(0.12):
        return data
    kind = dice.choice(["<f4", "<f8", "|O", "|u1", "<f4" * 50, "|V9999999999"])
    if dice.often(0.5):
        kind = "<f4"
    order = dice.choice(["True", "False", "1"])
    head = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {dice.choice(LIES)}, }}\n"
    size = dice.choice([len(head), len(head), 2**16 - 1, 0])
    version = dice.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"])
    length = size.to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + head.encode() + data[-96:]


def _packed(dice, apt):
    """The bytes of a .npz file with arrays of the usual and of other names."""
    file, names = io.BytesIO(), ["x", "x", "y", "x_test", "y_test", "classes", "n", "q", "field"]
    names += ["arr_0", "../x", "/etc/passwd", "x/x", "kind", *HOSTILE[:8]]
    how = dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(file, "w", how) as archive:
        if dice.often(0.85):
            archive.writestr("x.npy", _saved(_array(dice, apt)))
            names = names[2:]
        if dice.often(0.5):
            archive.writestr("y.npy", _saved(_labels(dice)))
            names.remove("y")
        for name in dice.some(names, 3) if dice.often(0.3) else []:
            content = _labels(dice) if name.startswith("y") else _array(dice, apt)
            archive.writestr(
                f"{name}.npy", _one(dice, apt) if dice.often(0.2) else _saved(content)
            )
        if dice.often(0.03):
            zeros = np.lib.format.header_data_from_array_1_0(np.empty((2**26,), "f4"))
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, zeros)
            archive.writestr("z.npy", head.getvalue() + bytes(2**28))
    return file.getvalue()


def _saved(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _labels(dice):
    rows = dice.choice([12, 12, 12, 12, 12, 11, 40, 0])
    made = np.arange(rows) % dice.choice([1, 3, 3, 10])
    how = dice.choice([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    return [
        made,
        made.astype("f4"),
        made + 0.5,
        made - 1,
        made[:, None],
        np.array(["a", "<fuzz>", "c"] * 14)[:rows],
        made.astype("u1"),
        made * 2**40,
        np.where(made > 0, np.nan, 0.0),
    ][how]


def _text(dice, apt):
    """The bytes of a table."""
    comma = dice.choice([",", ",", ";", "\t"])
    wide, rows = dice.choice([1, 2, 2, 2, 4]), dice.choice([0, 1, 12, 12, 30, 30])
    head = [
        dice.choice([*"abcxy", *HOSTILE]) if dice.often(0.2) else "abcd"[k] for k in range(wide)
    ]
    lines = [head]
    for k in range(rows):
        line = [f"{k * (j + 2) % 11 / 3:.3f}" for j in range(wide)]
        if dice.often(0.02):
            line[dice.randrange(wide)] = dice.choice([*CELLS, *HOSTILE])
        if dice.often(0.01):
            line.append("1")
        lines.append(line)
    end = dice.choice(["\n", "\n", "\r\n", "\r"])
    text = end.join(comma.join(line) for line in lines) + end
    return text.encode(dice.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig", "utf-32"]))
