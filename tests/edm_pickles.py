"""Files in EDM's format, written as its own code would write them.

The classes of such a file come with their source, by a function `_reconstruct_persistent_obj` of
a module that need not exist here; so a pickle is written with a stand-in of that name. The weights
are a formula of their names' order. With them fixtures/edm_outputs.json was measured: every
seventh number of D(x, sigma), for each row of `states`, as the original code gives it.
"""

import io
import json
import pickle
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from diffode.interop.edm_options import NETWORKS
from diffode.interop.edm_unet import EdmUNet

MEASURED = json.loads((Path(__file__).parent / "fixtures" / "edm_outputs.json").read_text())
SONG = dict(img_resolution=8, num_blocks=1, model_channels=8)
SPECS = {
    "ddpmpp": (
        "EDMPrecond",
        "SongUNet",
        {},
        dict(SONG, in_channels=1, channel_mult=[1, 2], attn_resolutions=[4], augment_dim=9),
    ),
    "ncsnpp": (
        "VEPrecond",
        "SongUNet",
        {},
        dict(
            SONG,
            in_channels=2,
            label_dim=3,
            label_dropout=0.1,
            embedding_type="fourier",
            encoder_type="residual",
            channel_mult_noise=2,
            resample_filter=[1, 3, 3, 1],
            channel_mult=[1, 2, 2],
            attn_resolutions=[8],
        ),
    ),
    "skip": (
        "VPPrecond",
        "SongUNet",
        {},
        dict(
            SONG,
            in_channels=2,
            label_dim=3,
            label_dropout=0.1,
            encoder_type="skip",
            decoder_type="skip",
            channel_mult=[2, 1],
            num_blocks=2,
            attn_resolutions=[8],
        ),
    ),
    "adm": (
        "EDMPrecond",
        "DhariwalUNet",
        {"sigma_data": 0.7},
        dict(
            img_resolution=4,
            in_channels=1,
            label_dim=4,
            model_channels=32,
            channel_mult=[1, 4],
            num_blocks=1,
            attn_resolutions=[2],
        ),
    ),
    "iddpm": (
        "iDDPMPrecond",
        "DhariwalUNet",
        {"M": 20},
        dict(
            img_resolution=4,
            in_channels=1,
            out_channels=2,
            model_channels=8,
            channel_mult=[1, 2],
            num_blocks=1,
            attn_resolutions=[2],
        ),
    ),
}


class Holder(nn.Module):
    """What the network sits in, so that its parameters have the names of a file."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def filled(name):
    """The network of one of the specs, its weights waves."""
    _, kind, _, told = SPECS[name]
    told = {"out_channels": told["in_channels"], **told}
    held = Holder(EdmUNet(NETWORKS[kind](**told)))
    tensors = {**dict(held.named_parameters()), **dict(held.named_buffers())}
    taps = torch.tensor(told.get("resample_filter", [1, 1])).float()
    for i, (key, tensor) in enumerate(sorted(tensors.items())):
        k = torch.arange(tensor.numel(), dtype=torch.float64)
        wave = torch.sin(0.7 * (i + 1) + 1.3 * k + 0.01 * k * k).reshape(tensor.shape)
        if key.endswith("resample_filter"):
            wave = (taps[:, None] * taps / taps.sum() ** 2)[None, None]
        elif "norm" in key and key.endswith("weight"):
            wave = 1 + 0.2 * wave
        elif key.endswith("freqs"):
            wave = 2 * wave
        else:
            wave = wave / (tensor[0].numel() if tensor.ndim > 1 else 4) ** 0.5
        tensor.data.copy_(wave)
    return held


def states(name, height):
    """Points (3, *event) at noise levels (3,), as the original code was given them."""
    told = SPECS[name][3]
    side, channels = told["img_resolution"], told["in_channels"]
    k = torch.arange(3 * channels * side * side, dtype=torch.float64)
    x = torch.sin(0.9 * k).reshape(3, channels, side, side).float()
    return x * (1 + height[:, None, None, None].float())


class Persistent:
    """An object of a class whose source is in the file."""

    def __init__(self, class_name, state):
        self.meta = dict(
            type="class",
            version=6,
            module_src="raise SystemExit('the source in a file was run')",
            class_name=class_name,
            state=state,
        )

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class Calling:
    """An object whose pickle calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def plain(kind, state):
    """An object of a class of torch, without its constructor."""
    made = kind.__new__(kind)
    vars(made).update(state)
    return made


def wrapped(module, class_name=None, **more):
    """A module of ours as a file has it."""
    parts = {key: wrapped(part) for key, part in module._modules.items() if part is not None}
    keys = ("training", "_parameters", "_buffers", "_non_persistent_buffers_set")
    state = {key: vars(module)[key] for key in keys} | {"_modules": parts} | more
    if type(module) is nn.ModuleDict:
        return plain(nn.ModuleDict, state)
    return Persistent(class_name or type(module).__name__, state)


@contextmanager
def standing_in():
    """Let the module that EDM's pickles name exist, for as long as one is written."""
    stand_in = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("a file was unpickled")

    _reconstruct_persistent_obj.__module__ = stand_in.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    stand_in._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), stand_in.__name__: stand_in}
    try:
        yield
    finally:
        del sys.modules["torch_utils"], sys.modules[stand_in.__name__]


def content(name, precond=None, network=None, held=None, **more):
    """What EDM writes for one of the specs, with some options changed."""
    kind, inner, own, told = SPECS[name]
    told = {"out_channels": told["in_channels"], **told, **(network or {})}
    own = {
        "img_resolution": told["img_resolution"],
        "img_channels": told["in_channels"],
        "label_dim": told.get("label_dim", 0),
        **own,
        **(precond or {}),
    }
    held = held or filled(name)
    outer = wrapped(held, kind, _init_kwargs=own, _init_args=())
    parts = outer.meta["state"]["_modules"]
    parts["model"] = wrapped(held.model, inner, _init_kwargs=told, _init_args=())
    if kind == "iDDPMPrecond":
        outer.meta["state"]["_buffers"]["u"] = torch.tensor(MEASURED[name]["u"])
    return {"ema": outer, "loss_fn": None, "dataset_kwargs": {}, **more}


def write(path, name="ddpmpp", protocol=4, **changes):
    """A file as EDM writes it: one pickle."""
    with standing_in(), open(path, "wb") as file:
        pickle.dump(content(name, **changes), file, protocol)
    return path


def write_archive(path, name="ddpmpp", **changes):
    """A file as PFGM++ writes it: an archive of torch, with more than the network."""
    with standing_in():
        torch.save({**content(name, **changes), "optimizer_state": {"state": {}}, "step": 3}, path)
    return path


def dumped(value, protocol=4):
    """A pickle of a value, with the stand-in."""
    buffer = io.BytesIO()
    with standing_in():
        pickle.dump(value, buffer, protocol)
    return buffer.getvalue()
