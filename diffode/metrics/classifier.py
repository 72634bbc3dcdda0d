"""A small classifier whose last hidden layer is a feature space, trained the same way every time.

It is a file of safetensors with a JSON header: data, accuracy, options. Those of the digits and of
Fashion-MNIST come with the package, so that a Frechet distance means the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from diffode.data import Dataset
from diffode.data.source import whole
from diffode.files import replacing
from diffode.inputs import file_word, require_file
from diffode.nn import seeded
from diffode.options import Count, Positive
from diffode.training.batches import Batch, Batches

WIDTHS = (24, 48, 64)
FEATURES = 64
_KEY = "diffode-classifier"


class Classifier(nn.Module):
    """Three convolutions, a hidden layer of 64, the classes; for images of any size.

    Arguments:
        channels: of an image, 1 or 3.
        classes: how many.
        mean, std: of the training images: inputs are standardised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, classes: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        layers: list[nn.Module] = []
        for wide, stride in zip(WIDTHS, (1, 2, 2), strict=True):
            layers += [
                nn.Conv2d(channels, wide, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
            ]
            channels = wide
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.hidden = nn.Linear(4 * channels, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """The hidden layer of images (B, C, H, W), shape (B, 64)."""
        hidden: Tensor = self.hidden(self.trunk((x - self.mean) / self.std))
        return hidden.relu()

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images, shape (B, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    @torch.no_grad()
    def answers(self, x: Tensor, batch: int = 250) -> Tensor:
        """The class of each image, shape (B,)."""
        return torch.cat([self(part).argmax(1) for part in torch.split(x.float(), batch)])


def accuracy(classifier: Classifier, x: Tensor, y: Tensor) -> float:
    """The share of images that a classifier names rightly."""
    return float((classifier.answers(x) == y).double().mean())


def train_classifier(
    dataset: Dataset,
    *,
    epochs: Count = 8,
    batch: Count = 256,
    lr: Positive = 1e-2,
    weight_decay: Positive = 1e-2,
    seed: Annotated[int, Ge(0)] = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Classifier:
    """Train on a labelled set of images, on one thread of the CPU: the same weights every time.

    Arguments:
        dataset: with labels.
        epochs, batch, lr, weight_decay: AdamW on a one-cycle schedule of peak lr.
        seed: of the weights and of the order.
        progress: called with the step, the steps there are, and the loss.

    Raises:
        ValueError: no labels, or no images.
    """
    x, y, classes = whole(dataset.train), dataset.train_labels, dataset.classes
    if y is None or classes is None or x.ndim != 4:
        raise ValueError(
            f"got {dataset!r}; a classifier is trained on labelled images (M, C, H, W)"
        )
    with _one_thread(), seeded(seed):
        net = Classifier(x.shape[1], classes, float(x.mean()), float(x.std()))
        steps = max(2, epochs * len(x) // batch)
        optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
        pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
        order, rows = Batches(Batch(x, y), batch, seed), torch.arange(batch)
        for step in range(steps):
            seen = order.at(step, rows)
            assert seen.y is not None
            loss = cross_entropy(net(seen.x), seen.y, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            pace.step()
            if progress is not None:
                progress(step + 1, steps, float(loss.detach()))
    return net.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def save_classifier(classifier: Classifier, path: str | Path, about: dict[str, Any]) -> None:
    """Write a classifier with what is known of it: data, accuracy, options."""
    from safetensors.torch import save_file

    tensors = {k: v.contiguous() for k, v in classifier.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(about, sort_keys=True)})


class _About(BaseModel):
    model_config = ConfigDict(extra="allow")

    data: Annotated[str, MaxLen(200)]
    accuracy: Annotated[float, Ge(0), Le(1)]


def load_classifier(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """A classifier and what is known of it, its ``hash`` (of the weights) included.

    Raises:
        ValueError: no such file, or not a classifier of this package.
    """
    from safetensors import SafetensorError, safe_open

    try:
        require_file(path)
        with safe_open(path, framework="pt") as file:
            about = _About.model_validate_json((file.metadata() or {})[_KEY]).model_dump()
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  # not a dict
        channels = tensors["trunk.0.weight"].shape[1]
        net = Classifier(channels, tensors["head.weight"].shape[0])
        net.load_state_dict(tensors)
    except (OSError, SafetensorError, IndexError, KeyError, ValueError, RuntimeError):
        raise ValueError(
            f"{path} is not a classifier of diffode; make one with diffode features DATA"
        ) from None
    about["hash"] = weights_hash(net)
    return net.eval(), about


def weights_hash(classifier: Classifier) -> str:
    """Twelve hexadecimal digits of the weights."""
    state = hashlib.sha256()
    for name, tensor in sorted(classifier.state_dict().items()):
        state.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return state.hexdigest()[:12]


def shipped(data: str) -> Path | None:
    """The classifier of a data set that comes with the package, if there is one."""
    if file_word(data) != data:
        return None
    path = Path(str(files("diffode.metrics") / "weights" / f"{data}.safetensors"))
    return path if path.is_file() else None
