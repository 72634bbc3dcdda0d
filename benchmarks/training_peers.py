"""A step of training here and in other libraries, at the same network and batch.

    python -m benchmarks.training_peers

Each peer is trained as its own example does: its objective, loader, optimiser, clip and average,
with accelerate where the example has it. torchcfm follows its CIFAR-10 example, diffusers its
unconditional one, denoising-diffusion-pytorch its Trainer, azula its tutorial (which neither clips
nor averages). One thread, time of the processor, rounds of 10 steps in turn. A figure is (time of
the peer) / (time of `diffode.train` with the recipe edm): medians and quartiles. A library that is
not installed is left out.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.compare import spread
from benchmarks.training import BEDS, taken
from diffode import build, train
from diffode.data import load
from diffode.training import data_stats

Steps = Iterator[None]


def batches(x: Tensor, batch: int) -> Iterator[Tensor]:
    """Shuffled batches without end, by torch's own loader."""
    loader = DataLoader(TensorDataset(x), batch, shuffle=True, drop_last=True)
    while True:
        for (rows,) in loader:
            yield rows


def torchcfm(network: nn.Module, x: Tensor, batch: int) -> Steps:
    """The example for CIFAR-10: an average over the state dict, a schedule of the rate."""
    from torchcfm import ConditionalFlowMatcher

    matcher, average = ConditionalFlowMatcher(sigma=0.0), copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(step, 5000) / 5000)
    data = batches(x, batch)
    while True:
        optimiser.zero_grad()
        x_1 = next(data)
        t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(x_1), x_1)
        loss = torch.mean((network(x_t, t[:, None], None) - u_t) ** 2)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        source, target = network.state_dict(), average.state_dict()
        for key in source:
            target[key].data.copy_(target[key].data * 0.9999 + source[key].data * 1e-4)
        yield


def diffusers(network: nn.Module, x: Tensor, batch: int) -> Steps:
    """The unconditional example: accelerate, DDPM's noise, a cosine rate, EMAModel."""
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    accelerator, noises = Accelerator(cpu=True), DDPMScheduler(num_train_timesteps=1000)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999))
    rate = get_scheduler("cosine", optimiser, num_warmup_steps=500, num_training_steps=10**5)
    loader = DataLoader(TensorDataset(x), batch, shuffle=True, drop_last=True)
    model, optimiser, loader, rate = accelerator.prepare(network, optimiser, loader, rate)
    while True:
        for (rows,) in loader:
            noise = torch.randn(rows.shape)
            t = torch.randint(0, 1000, (len(rows),))
            noisy = noises.add_noise(rows, noise, t)
            with accelerator.accumulate(model):
                loss = mse_loss(model(noisy, t[:, None].float(), None).float(), noise)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                rate.step()
                optimiser.zero_grad()
            average.step(model.parameters())
            loss.detach().item()
            yield


class Asked(nn.Module):
    """A network as denoising-diffusion-pytorch calls it."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels, self.out_dim = network, channels, channels
        self.self_condition = self.random_or_learned_sinusoidal_cond = False

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The noise that the network sees."""
        out: Tensor = self.network(x, t[:, None].float(), None)
        return out


def denoising_diffusion(network: nn.Module, x: Tensor, batch: int) -> Steps:
    """The loop of its Trainer: accelerate, its GaussianDiffusion, an average each 10 steps."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.utils"):
        if name not in sys.modules:  # pictures and transforms alone, which nothing here calls
            sys.modules[name] = ModuleType(name)
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchvision"].utils = sys.modules["torchvision.utils"]  # type: ignore[attr-defined]
    from accelerate import Accelerator
    from denoising_diffusion_pytorch import GaussianDiffusion
    from ema_pytorch import EMA

    if x.ndim != 4:
        raise ImportError("its diffusion is of images")
    diffusion = GaussianDiffusion(Asked(network, x.shape[1]), image_size=x.shape[-1])
    accelerator = Accelerator(cpu=True)
    optimiser = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=10)
    model, optimiser = accelerator.prepare(diffusion, optimiser)
    data = batches(x, batch)
    while True:
        with accelerator.autocast():
            loss = model(next(data))
        loss.item()
        accelerator.backward(loss)
        accelerator.wait_for_everyone()
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        accelerator.wait_for_everyone()
        average.update()
        yield


def azula(network: nn.Module, x: Tensor, batch: int) -> Steps:
    """Its tutorial: the loss of a KarrasDenoiser, AdamW, nothing else."""
    from azula.denoise import KarrasDenoiser
    from azula.noise import VPSchedule

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.network(x, t.reshape(len(x), 1), None)
            return out

    denoiser = KarrasDenoiser(Backbone(), VPSchedule())
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)
    data = batches(x, batch)
    while True:
        rows = next(data)
        loss = denoiser.loss(rows, torch.rand(len(rows))).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        yield


PEERS: dict[str, Callable[[nn.Module, Tensor, int], Steps]] = {
    "torchcfm": torchcfm,
    "diffusers": diffusers,
    "denoising-diffusion-pytorch": denoising_diffusion,
    "azula": azula,
}


def bed(name: str, rounds: int) -> str:
    """A row of the table: each peer's time over that of this project."""
    data, told, batch = BEDS[name]
    x = load(data).train
    options: dict[str, Any] = {**told, "stats": data_stats(x)}
    objective = build("edm", x.shape[1:], **options)
    ours = train(objective, x, steps=10**5, batch=batch, device="cpu")
    runs: dict[str, Callable[[], object]] = {"ours": ours.__next__}
    for peer, made in PEERS.items():
        network = build("edm", x.shape[1:], **options).field.network.train()
        steps = made(network, x, batch)
        try:
            next(steps)
        except ImportError as missing:
            print(f"{name}: {peer} is left out: {missing}", file=sys.stderr)
        else:
            runs[peer] = steps.__next__
    seconds = [{k: taken(run) for k, run in runs.items()} for _ in range(rounds + 1)][1:]
    ratios = {k: [row[k] / row["ours"] for row in seconds] for k in runs}
    cells = [spread(ratios[peer]) if peer in ratios else "-" for peer in PEERS]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"| network | {' | '.join(PEERS)} |\n|---{'|---' * len(PEERS)}|")
    for name in BEDS:
        print(bed(name, rounds), flush=True)


if __name__ == "__main__":
    main()
