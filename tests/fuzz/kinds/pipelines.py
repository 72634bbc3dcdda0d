"""Folders of diffusers: configurations that are changed, weights that are damaged, odd files."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.fuzz.dice import HOSTILE, changed
from tests.fuzz.kinds.configs import NAMES

LINE = "sample {folder} --samples 2 --nfe 3 --out out.npz"
OTHERS = ["bench {folder} --nfe 3 --dry-run", "encode {folder} images.npz --out out.npz"]
ELSEWHERE = "../../../outside/secret.safetensors"
LINKS = ["/dev/zero", "nowhere", "../unet"]  # those of a cache of the hub are followed


def make(dice, place):
    """A folder with something changed in it, and a command that opens it."""
    folder = dice.choice(["pipe", "pipe", "latent"])
    place.bring(folder)
    how = dice.choice([_config, _config, _config, _weights, _index, _bytes, _traps])
    how(dice, Path(folder))
    line = LINE if dice.often(0.9) else dice.choice(OTHERS)
    return line.format(folder=folder).split()


def _config(dice, folder):
    path = dice.choice(sorted(folder.rglob("*.json")))
    content = json.loads(path.read_text())
    for _ in range(dice.randint(1, 2)):
        content = changed(dice, content)
    if dice.often(0.15) and isinstance(content, dict):
        content[dice.choice(list(content) or ["x"])] = dice.choice([*NAMES, ["os", "system"]])
    path.write_text(json.dumps(content))


def _weights(dice, folder):
    path = dice.choice(sorted(folder.rglob("*.safetensors")))
    tensors = load_file(path)
    name = dice.choice(sorted(tensors))
    how, value = dice.randrange(6), tensors[name]
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors[dice.choice(["junk", "../x", f"{name}s"])] = tensors.pop(name)
    elif how == 2:
        tensors[name] = value[None]
    elif how == 3:
        tensors[name] = torch.full_like(value, dice.choice([float("nan"), float("inf"), 1e30]))
    elif how == 4:
        tensors[name] = value.to(dice.choice([torch.half, torch.float64, torch.int64]))
    else:
        tensors[name] = torch.zeros(0)
    save_file(tensors, path, metadata={"format": dice.choice(["pt", "np", *HOSTILE[:2]])})


def _index(dice, folder):
    """An index of shards, which names files."""
    path = dice.choice(sorted(folder.rglob("*.safetensors")))
    names = sorted(load_file(path))
    part = path.with_name("part.safetensors")
    path.rename(part)
    to = dice.choice([part.name, *HOSTILE, ELSEWHERE, "/etc/passwd"])
    weights = {name: part.name for name in names}
    weights |= {name: to for name in dice.some(names, len(names))}
    content = {"metadata": {}, "weight_map": weights}
    text = json.dumps(changed(dice, content) if dice.often(0.3) else content)
    path.with_name(f"{path.name}.index.json").write_text(text)


def _bytes(dice, folder):
    path = dice.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    path.write_bytes(dice.damaged(path.read_bytes()))


def _traps(dice, folder):
    """Something that is no ordinary file in the place of one."""
    path = dice.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    path.unlink()
    how = dice.randrange(4)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        os.symlink(dice.choice(LINKS), path)
    elif how == 2:
        path.mkdir()
