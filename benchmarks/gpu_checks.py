"""What `benchmarks.gpu` makes: each check gives its figures in a line, or fails with an error."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import diffode
from diffode.data import Dataset, load
from diffode.devices import choose
from diffode.fields import Empirical, Karras
from diffode.fields.base import Field
from diffode.metrics import Panel
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.training import data_stats
from diffode.training.objective import Objective
from diffode.training.trainer import TrainState, train

ROOT = Path(__file__).parents[1]
STEPS = 30  # of a small training


class NotRun(Exception):
    """A check that cannot be made on this machine; it says why."""


class Wrong(Exception):
    """A check that was made, and what it found."""


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        width: of the U-Nets that are trained longest.
        batch: rows of their steps.
        seconds: that each of them is trained.
        samples: drawn and measured of each.
        points, coordinates: of the exact field.
    """

    width: int
    batch: int
    seconds: float
    samples: int
    points: int
    coordinates: int

    def lasting(self, seconds: float | None) -> Size:
        """The same with another length of training, if one is given."""
        return self if seconds is None else replace(self, seconds=seconds)


@dataclass
class Bench:
    """The machine, the data, and the figures so far.

    Attributes:
        dataset: labelled images.
        size: how much is done.
        out: the output folder.
        device: CUDA where there is one, else the CPU.
        rows: of the table of trainings.
    """

    dataset: Dataset
    size: Size
    out: Path
    device: torch.device
    rows: list[list[str]] = field(default_factory=list)
    _small: dict[str, Field] = field(default_factory=dict)

    @classmethod
    def of(cls, data: str, size: Size, out: Path) -> Bench:
        """A bench for a data set.

        Raises:
            ValueError: no such data, or no labelled images.
        """
        dataset = load(data)
        if dataset.classes is None or len(dataset.event_shape) != 3:
            raise ValueError(f"got {dataset!r}; wanted labelled images (C, H, W)")
        return cls(dataset, size, out, choose("auto"))

    def require_cuda(self) -> None:
        """Leave a check out where there is no CUDA device."""
        if self.device.type != "cuda":
            raise NotRun("no CUDA device here")

    @property
    def machine(self) -> str:
        """What the device is called."""
        on_gpu = self.device.type == "cuda"
        return torch.cuda.get_device_name(self.device) if on_gpu else "a CPU, at toy size"

    @property
    def notes(self) -> list[str]:
        """What the table of trainings depends on."""
        spaces = ", ".join(map(str, self.panel.features))
        return [
            f"{self.dataset!r}, with labels; {self.size.samples} samples with the default solver; "
            f"Frechet distance in {spaces}, beside real data of the same count"
        ]

    @cached_property
    def stats(self) -> Any:  # noqa: ANN401
        """The data's statistics, which all trainings share."""
        return data_stats(self.dataset.train)

    @cached_property
    def panel(self) -> Panel:
        """What samples are measured against, in the usual feature space."""
        panel = Panel(self.dataset, self.size.samples, labels=True)
        panel.features = panel.features[:1]
        return panel

    def built(self, name: str, network: str = "unet", **options: Any) -> Objective:  # noqa: ANN401
        """An untrained objective for these data; width 16 if nothing else is asked for."""
        shape, classes = self.dataset.event_shape, self.dataset.classes
        options = {"network": network, "width": 16, **options}
        return diffode.build(name, shape, classes, self.stats, **options)

    def trained(
        self, objective: Objective, steps: int, batch: int = 32, precision: str = "no"
    ) -> list[TrainState]:
        """The states of a training on the device."""
        data = self.dataset.train, self.dataset.train_labels
        options: dict[str, Any] = {"precision": precision, "device": self.device.type}
        return list(train(objective, data, steps=steps, batch=batch, warmup=10, **options))

    def small(self, name: str) -> Field:
        """A small field after a few steps, the same for every check."""
        if name not in self._small:
            averaged = self.trained(self.built(name), STEPS)[-1].averaged
            assert isinstance(averaged, Field)
            self._small[name] = averaged.eval()
        return self._small[name]


def draws(bench: Bench) -> str:
    """The draws of `Rng` are those of the CPU, to the last bit."""
    bench.require_cuda()
    rng, shape = Rng(7, step=3), (512, *bench.dataset.event_shape)
    made: dict[str, Callable[[torch.device | str], Tensor]] = {
        "bits": lambda device: rng.bits("a", 512, 1000, device),
        "uniform": lambda device: rng.uniform("a", shape, device),
        "spread": lambda device: rng.spread("a", 512, device),
        "normal": lambda device: rng.normal("a", shape, torch.float64, device),
        "chi2": lambda device: rng.chi2("a", 512, 1.0, device),
    }
    unequal = [k for k, draw in made.items() if not draw("cpu").equal(draw("cuda").cpu())]
    if unequal:
        raise Wrong(f"other numbers than on the CPU: {', '.join(unequal)}")
    return f"{', '.join(made)} are bit-equal on both devices"


def exact_field(bench: Bench) -> str:
    """Streamed from the CPU's memory, the exact field is that of the CPU in float64."""
    shape = (bench.size.points, bench.size.coordinates)
    points = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    worst, seconds = 0.0, []
    for noise in (Normal(), StudentT(1.0)):
        exact = Empirical(points, Karras(), noise, resident=False)
        for sigma in (0.5, 8.0):
            x = points[:64] + sigma * Rng(1).normal("x", (64, shape[1]))
            truth, _ = exact.to("cpu").posterior(x.double(), sigma)
            exact.to(bench.device).posterior(x.to(bench.device), sigma)
            began = now(bench.device)
            here, _ = exact.posterior(x.to(bench.device), sigma)
            seconds.append(now(bench.device) - began)
            worst = max(worst, relative(here, truth))
    if worst > 1e-5:
        raise Wrong(f"off by {worst:.1e} of its size, wanted 1e-5")
    slowest = 1e3 * max(seconds)
    return (
        f"64 queries, {shape[0]:,} x {shape[1]:,} streamed: {slowest:.0f} ms, off by {worst:.1e}"
    )


def precision(bench: Bench, name: str) -> str:
    """Mixed precision learns what float32 learns."""
    if name == "fp16":
        bench.require_cuda()
    losses = {}
    for kind in ("no", name):
        states = bench.trained(bench.built("edm"), STEPS, precision=kind)
        losses[kind] = sum(sum(s.losses.values()) for s in states[-10:]) / 10
    text = f"loss {losses[name]:.4f} after {STEPS} steps, float32 {losses['no']:.4f}"
    if not abs(losses[name] / losses["no"] - 1) < 0.05:
        raise Wrong(text)
    return text


def compiled(bench: Bench) -> str:
    """A compiled network learns what the plain one learns."""
    backend = "inductor" if bench.device.type == "cuda" else "eager"
    plain, other = bench.built("edm"), bench.built("edm")
    other.field.network = torch.compile(other.field.network, backend=backend)
    runs = [bench.trained(made, STEPS) for made in (plain, other)]
    one, two = (sum(states[-1].losses.values()) for states in runs)
    if not abs(two / one - 1) < 0.02:
        raise Wrong(f"the loss is {one:.5f} and, compiled, {two:.5f}")
    slow, fast = ((STEPS - 5) / (s[-1].seconds - s[4].seconds) for s in runs)
    first = runs[1][0].seconds
    return f"{backend}: {fast:.1f} steps/s, plain {slow:.1f}; the first step takes {first:.0f} s"


def samples(bench: Bench) -> str:
    """Samples on CUDA are those of the CPU."""
    bench.require_cuda()
    y, worst = bench.dataset.labels(16), 0.0
    for name in ("edm", "poisson"):
        made = [
            diffode.sample(bench.small(name).to(device), 16, nfe=10, y=y).x.cpu()
            for device in ("cpu", "cuda")
        ]
        worst = max(worst, relative(made[1], made[0]))
    if worst > 1e-4:
        raise Wrong(f"off by {worst:.1e} of their size, wanted 1e-4")
    return f"edm and poisson, off by {worst:.1e} of their size"


def likelihood(bench: Bench) -> str:
    """Log-densities by dopri5 on the device are those of the CPU."""
    x, y = bench.dataset.test[torch.arange(4)], bench.dataset.test_labels
    y = None if y is None else y[:4]
    options: dict[str, Any] = {"trace": "hutchinson", "probes": 2, "rtol": 1e-3, "atol": 1e-3}
    nats = []
    for device in dict.fromkeys(("cpu", bench.device.type)):
        found = diffode.log_prob(
            bench.small("edm").to(device), x.to(device), solver="dopri5", y=y, **options
        )
        nats.append(found.nats.cpu())
    apart = relative(nats[-1], nats[0])
    if not bool(nats[-1].isfinite().all()) or apart > 1e-3:
        raise Wrong(f"{nats[-1].tolist()}, on the CPU {nats[0].tolist()}")
    bits = -float(nats[-1].mean()) / x[0].numel() / math.log(2)
    there = f"off by {apart:.1e} from the CPU" if len(nats) > 1 else "on the CPU alone"
    return f"{found.nfe} evaluations, {bits:.2f} bits a dimension in model units, {there}"


def launched(bench: Bench) -> str:
    """A process of torchrun trains what a process without it trains."""
    command = ["train", "edm", "digits", "--steps", "5", "--batch", "32", "--samples", "20"]
    launchers = (
        ["-m", "diffode"],
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "diffode"],
    )
    losses = []
    with TemporaryDirectory() as folder:
        for k, launcher in enumerate(launchers):
            out = Path(folder) / str(k)
            line = [sys.executable, *launcher, *command, "--set", "width=16", "--out", str(out)]
            line += ["--set", "log_every=1"]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise Wrong(" ".join(done.stderr.split())[-300:])
            logged = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            losses.append([json.loads(text)["loss"]["field"] for text in logged])
    one, two = (torch.tensor(values) for values in losses)
    if relative(two, one) > 1e-4:
        raise Wrong(f"losses {two.tolist()}, without torchrun {one.tolist()}")
    return f"{len(one)} steps on digits, losses off by {relative(two, one):.1e}"


def now(device: torch.device) -> float:
    """The time, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def relative(found: Tensor, truth: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    gap = (found.cpu().double() - truth.cpu().double()).abs().max()
    return float(gap / truth.abs().max())
