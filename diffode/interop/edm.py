r"""Fields from EDM-format files: the checkpoints of EDM and of PFGM++.

Such a file is a pickle that brings the source of its classes and runs it when Python opens it.
Here it is read as data (`diffode.interop.edm_pickle`): its options and weights fill a network of
our own with the same names of parameters.

References: EDM (Karras et al., 2022), https://arxiv.org/abs/2206.00364; PFGM++ (Xu et al., 2023),
https://arxiv.org/abs/2302.04265.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from diffode.data.scaling import Scaling
from diffode.fields.learned import Learned
from diffode.fields.schedules import Karras
from diffode.inputs import as_place
from diffode.interop.edm_files import SPEC, EdmFile, read_converted, read_file, write_converted
from diffode.interop.edm_options import EDMPrecond, IDDPMPrecond
from diffode.interop.edm_precond import prediction_of
from diffode.interop.edm_unet import EdmUNet
from diffode.priors import Normal, StudentT

_STD = 0.5  # of images from -1 to 1, as EDM takes it


class EdmNetwork(nn.Module):
    """The network of a file as a field calls it, with the names of its parameters.

    Arguments:
        file: what was read.

    Raises:
        ValueError: weights that do not fit the options.
    """

    def __init__(self, file: EdmFile) -> None:
        super().__init__()
        told = file.network
        self.classes = told.label_dim or None
        self.needs_labels = bool(told.label_dim) and not told.label_dropout
        self.channels = file.precond.img_channels
        try:
            with torch.device("meta"):  # no memory, whatever the options ask for
                self.model = EdmUNet(told)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"its options make no network: {error}") from None
        _require_fit(self.state_dict(), file.tensors)
        self.load_state_dict(file.tensors, assign=True)

    def forward(self, x: Tensor, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """The output, shape (B, C, H, W).

        Arguments:
            x: scaled images, shape (B, C, H, W).
            cond: what is said of the noise level, shape (B, 1).
            y: classes, shape (B,); None or the number of classes for none.
        """
        classes = None
        if self.classes is not None:
            if y is None and self.needs_labels:
                raise ValueError(
                    "got no labels, but this network was trained with labels alone; pass labels "
                    "y, or --label on the command line"
                )
            known = torch.arange(self.classes, device=x.device)
            row = torch.zeros(len(x), self.classes, device=x.device, dtype=x.dtype)
            classes = row if y is None else (y[:, None] == known).to(x.dtype)
        out: Tensor = self.model(x, cond[:, 0], classes)
        return out[:, : self.channels]  # improved DDPM has a variance behind the mean


def from_edm(path: str | Path, *, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Learned:
    r"""The field of an EDM-format file, or of a folder that `convert_edm` has made of one.

    .. math:: E[x_0 | x_t = x] = D(x, \sigma), \quad \alpha = 1, \quad \sigma = t

    D is that of the file's own code, in float32; data units are gray levels from 0 to 255. The
    noise is normal, or that of PFGM++ with the file's D.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1.

    Arguments:
        path: a .pkl of EDM, a .pt of PFGM++, or the folder.
        sigma_min, sigma_max: the ends of the span; the levels that the network was made for
            narrow it.

    Raises:
        TypeError: no path.
        FileNotFoundError: nothing there.
        ValueError: no such file, one that asks for more than data, or one that is damaged.
    """
    path = Path(as_place(path, "a .pkl of EDM, a .pt of PFGM++, or a folder made of one"))
    file = read_converted(path) if path.is_dir() else read_file(path)
    told = file.precond
    try:
        network = EdmNetwork(file)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    low, high = max(sigma_min, told.sigma_min), min(sigma_max, told.sigma_max)
    if not low < high:
        raise ValueError(
            f"got a span from {sigma_min:g} to {sigma_max:g}; {path} knows noise levels from "
            f"{told.sigma_min:g} to {told.sigma_max:g}"
        )
    noise = StudentT(told.D) if told.pfgmpp else Normal()
    levels = file.levels if isinstance(told, IDDPMPrecond) else None
    std = told.sigma_data if isinstance(told, EDMPrecond) else _STD
    mean = torch.zeros(told.img_channels, told.img_resolution, told.img_resolution)
    prediction = prediction_of(told, levels)
    field = Learned(network, Karras(low, high), prediction, noise, mean, std)
    field.scaling = Scaling.pixels()
    return field.eval()


def is_edm(path: Path) -> bool:
    """Whether something may be what `from_edm` reads: a folder with its spec, or by its name."""
    if path.is_dir():
        return (path / SPEC).exists()
    return path.suffix in (".pkl", ".pt", ".pth")


def convert_edm(path: str | Path, out: str | Path) -> Path:
    """Write a folder of safetensors and JSON that `from_edm` reads in the file's place.

    Arguments:
        path: a .pkl of EDM or a .pt of PFGM++.
        out: the folder to make.

    Raises:
        ValueError: as `from_edm`.
        FileExistsError: a folder that has something else in it.
    """
    from_edm(path)
    return write_converted(read_file(Path(path)), Path(out))


def _require_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that a network of these options does not have.

    Raises:
        ValueError: a missing, a further, or one of another shape.
    """
    for what, names in (
        ("lacks", wanted.keys() - found.keys()),
        ("has", found.keys() - wanted.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3])
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"it {what} {shown}{rest}, unlike a network of its options")
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            got, shape = tuple(found[name].shape), tuple(tensor.shape)
            raise ValueError(f"its {name} is of shape {got}; its options ask for {shape}")
