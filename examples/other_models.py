r"""A model from elsewhere: trained without diffode, sampled, measured and checked with it.

The training is that of flow matching, in plain torch: with noise z, data x and a time s from 0 at
the noise to 1 at the data, a network of (s, x_s) learns the velocity x - z at

    x_s = (1 - s) z + s x.

That is diffode's straight path with its time and its sign reversed, s = 1 - t; the convention's
name says so. Then any solver here takes it, it has a likelihood, and `check` knows whether the
name was right.

Reference: Lipman et al. (2023), https://arxiv.org/abs/2210.02747.
"""

from pathlib import Path

import torch
import typer
from torch import Tensor, nn

from diffode.data import load
from diffode.interop import from_velocity
from diffode.likelihood import log_prob
from diffode.sampling.drawing import sample
from diffode.testing import diagnose
from diffode.viz import canvas

DATA = load("moons")
COUNT, NFE = 1000, 8


class Net(nn.Module):
    """A network as torchcfm calls it, with (s, x)."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(3, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 96)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Linear(96, 2))

    def forward(self, s: Tensor, x: Tensor) -> Tensor:
        """The velocity."""
        return self.layers(torch.cat((x, s[:, None]), 1))


def trained(steps: int) -> Net:
    """Flow matching on two moons."""
    torch.manual_seed(0)
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        x = DATA.train[torch.randint(len(DATA.train), (256,))]
        z, s = torch.randn_like(x), torch.rand(256)
        at = (1 - s[:, None]) * z + s[:, None] * x
        loss = (net(s, at) - (x - z)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


@torch.no_grad()
def by_euler(net: Net, x: Tensor) -> Tensor:
    """The samples of Euler's method, as flow-matching code is usually sampled."""
    for k in range(NFE):
        x = x + net(torch.full((len(x),), k / NFE), x) / NFE
    return x


def main(out: Path = Path("."), steps: int = 2000) -> Path:
    """Write a picture into the folder OUT."""
    net = trained(steps)
    field = from_velocity(net, (2,), "torchcfm", std=float(DATA.train.std()))
    print(field)
    drawn = {
        "the data": DATA.test[:COUNT],
        f"Euler's method, {NFE} evaluations": by_euler(net, torch.randn(COUNT, 2)),
        f"the default solver, {NFE} evaluations": sample(field, COUNT, nfe=NFE, seed=0).x,
    }
    nats = log_prob(field, DATA.test[:100], rtol=1e-3, atol=1e-3).nats.mean()
    print(f"log-likelihood of held-out points: {float(nats):.2f} nats")
    wrong = from_velocity(lambda x, s: net(s, x), (2,), "diffode")
    (found,) = (f for f in diagnose(wrong, DATA).findings if f.check == "velocity")
    print(f"with the wrong name: {found}")

    figure = canvas.figure(1500, 560)
    for ax, (name, x) in zip(figure.subplots(1, 3), drawn.items(), strict=True):
        ax.scatter(*x.T, s=4, color=canvas.BLUE)
        ax.set_title(name, fontsize=13)
        canvas.plane(ax, torch.zeros(2), 3.5)
    canvas.save(figure, file := out / "other_models.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
