"""Checkpoints and configurations of runs: bytes, headers and JSON that are damaged or mislead."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffode.training import checkpoint, container
from tests.fuzz.dice import changed, with_its_data
from tests.fuzz.kinds.configs import NAMES

LIGHT = [
    "sample {run} --samples 4 --nfe 3 --out out.npz",
    "sample {run} --samples 4 --nfe 3 --out out.npz",
    "sample {run} --weights raw --samples 4 --nfe 3 --out out.png",
    "encode {run} points.npz --solver heun --nfe 3 --out out.npz",
    "decode {run} points.npz --solver heun --nfe 3 --out out.npz",
]
HEAVY = [
    "eval {run} --samples 20 --nfe 3",
    "train --resume {run} --samples 20",
    "likelihood {run} --points 2 --set rtol=.1 --set atol=.1",
    "plot {run} --nfe 3 --samples 8",
    "plot {run} --kind loss",
    "explore {run}",
    "export {run} folder",
    "bench {run} --nfe 3 --dry-run",
]
LENGTHS = [0, 1, 8, 2**20, 2**40, 2**63, 2**64 - 1]


def make(dice, place):
    """A run with something changed in it, and a command that opens it."""
    run = dice.choice(["moons", "digits", "poisson"])
    place.bring(run)
    how = dice.choice([_bytes, _length, _header, _header, _tensors, _tensors, _table, _config])
    how(dice, Path(run))
    target = str(checkpoint.newest(Path(run))) if dice.often(0.2) else run
    line = dice.choice(LIGHT if dice.often(0.8) and how is not _config else HEAVY)
    return line.format(run=target).split()


def _bytes(dice, run):
    """Bytes of any file of the run."""
    files = sorted(p for p in run.rglob("*") if p.is_file())
    path = checkpoint.newest(run) if dice.often(0.6) else dice.choice(files)
    path.write_bytes(dice.damaged(path.read_bytes()))


def _length(dice, run):
    """The length of the table of tensors."""
    path = checkpoint.newest(run)
    path.write_bytes(dice.choice(LENGTHS).to_bytes(8, "little") + path.read_bytes()[8:])


def _table(dice, run):
    """The table of tensors: their places, types and shapes."""
    path = checkpoint.newest(run)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    table = changed(dice, json.loads(data[8 : 8 + size]))
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def _header(dice, run):
    """The spec, with a digest that fits."""
    path = checkpoint.newest(run)
    header, tensors = container.read(path)
    for _ in range(dice.randint(1, 2)):
        if isinstance(header, dict):
            header = changed(dice, header)
    if dice.often(0.2) and isinstance(header, dict):
        name = dice.choice(NAMES)
        header |= dice.choice(
            [{"recipe": name}, {"options": {"network": name}}, {"code": {"recipe": ""}}]
        )
    _store(dice, path, header, tensors)


def _tensors(dice, run):
    """The tensors, with a digest that fits."""
    path = checkpoint.newest(run)
    header, tensors = container.read(path)
    name = dice.choice(sorted(tensors))
    value = tensors[name]
    how = dice.randrange(9)
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors[name + "s"] = tensors.pop(name)
    elif how == 2:
        tensors[name] = value[..., None].expand(*value.shape, 2).contiguous()
    elif how == 3:
        tensors[name] = torch.zeros(0)
    elif how == 4:
        tensors[name] = value.to(dice.choice([torch.float64, torch.int64, torch.half, torch.bool]))
    elif how == 5:
        tensors[name] = torch.full_like(value, dice.choice([1e30, -1, 0]))
    elif how == 6:
        tensors[dice.choice(["junk", "../x", "model/x", "<fuzz>"])] = torch.ones(2)
    elif how == 7 and value.is_floating_point():
        for each in sorted(tensors)[:: dice.choice([1, 3])]:
            if tensors[each].is_floating_point():
                tensors[each] = torch.full_like(
                    tensors[each], dice.choice([float("nan"), float("inf")])
                )
    elif value.is_floating_point():
        tensors[name] = torch.full_like(value, float("nan"))
    _store(dice, path, header, tensors)


def _store(dice, path, header, tensors):
    """A file with this header; its digest fits, mostly."""
    if isinstance(header, dict) and dice.often(0.9):
        header["digest"] = container.digest(header, tensors)
    save_file(tensors, path, metadata={"diffode": json.dumps(header)})


def _config(dice, run):
    """The configuration beside the checkpoints, and what was logged and measured."""
    path = dice.choice(sorted(p for p in run.iterdir() if p.suffix in (".json", ".jsonl")))
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        lines.insert(
            dice.randrange(len(lines) + 1), json.dumps(changed(dice, json.loads(lines[-1])))
        )
        path.write_text("\n".join(lines))
        return
    stored = content = json.loads(path.read_text())
    for _ in range(dice.randint(1, 2)):
        content = changed(dice, content)
    if dice.often(0.2) and isinstance(content, dict):
        content |= {dice.choice(["field", "data", "source", "solver"]): dice.choice(NAMES)}
    path.write_text(json.dumps(with_its_data(content, stored)))
