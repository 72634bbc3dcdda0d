r"""Optimisers as solvers: gradient descent of a game turns outwards, its ODE does not.

Two players move by their own gradients, x for min_x max_y xy and y against it:

    dx/dt = -y,   dy/dt = x.

This turns at constant radius. Simultaneous gradient descent with rate h takes Euler steps of it,
each of which multiplies the radius by sqrt(1 + h^2); RK4 stays on the circle. ODE-GAN lets the
second player also lower the first one's squared gradient, here y^2, which draws both to the rest.

With one player, Euler's error is a penalty: gradient descent on L follows the flow of
L + h / 4 |grad L|^2 much more closely than that of L.

References: ODE-GAN (Qin et al., 2020), https://arxiv.org/abs/2010.15040; Barrett and Dherin
(2021), https://arxiv.org/abs/2009.11162.
"""

from pathlib import Path

import torch
import typer
from torch import Tensor

from diffode.analysis import GameFlow, penalised
from diffode.viz import canvas

STEP, LONG = 0.15, 0.05
PLAYERS = {
    "Euler: gradient descent": ("euler", 0.0),
    "RK4": ("rk4", 0.0),
    "RK4 with the regulariser": ("rk4", 0.2),
}


def play(method: str, regulariser: float, steps: int) -> Tensor:
    """The path (T, 2) of the two players from (1, 0)."""
    x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, 0.0))
    flow = GameFlow([lambda: x * y, lambda: -x * y], [[x], [y]], method, STEP, regulariser)
    path = [torch.stack((x, y)).detach()]
    for _ in range(steps):
        flow.step()
        path.append(torch.stack((x, y)).detach())
    return torch.stack(path)


def loss(p: Tensor) -> Tensor:
    """A curved valley."""
    return (1 - p[0]).square() / 2 + (p[1] - p[0].square()).square()


def gaps(steps: int) -> dict[str, list[float]]:
    """How far gradient descent is from two flows, after each of its steps."""
    start = torch.tensor([-0.8, 1.5], dtype=torch.float64)
    p, q, r = (start.clone().requires_grad_() for _ in range(3))
    descent = GameFlow([lambda: loss(p)], [[p]], "euler", LONG)
    plain = GameFlow([lambda: loss(q)], [[q]], "rk4", LONG / 2)
    modified = GameFlow([penalised(lambda: loss(r), [r], LONG)], [[r]], "rk4", LONG / 2)
    found: dict[str, list[float]] = {"L": [], "L + h / 4 |grad L|^2": []}
    for _ in range(steps):
        descent.step()
        for flow in (plain, modified):
            for _ in range(2):
                flow.step()
        for of, point in zip(found.values(), (q, r), strict=True):
            of.append(float((p - point).detach().norm()))
    return found


def main(out: Path = Path("."), steps: int = 120) -> Path:
    """Write a picture into the folder OUT."""
    figure = canvas.figure(1500, 700)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    canvas.plane(left, torch.zeros(2), 3.0)
    for (name, how), colour in zip(
        PLAYERS.items(), (canvas.PINK, canvas.BLUE, canvas.GREEN), strict=True
    ):
        path = play(*how, steps)
        print(f"{name}: radius {float(path[-1].norm()):.3f} after {steps} steps")
        left.plot(*path.T, ".-", color=colour, linewidth=1, markersize=5, label=name)
    left.set_title(f"min over x, max over y of xy, steps of {STEP}")
    left.legend(loc="upper right")
    for (name, off), colour in zip(gaps(steps).items(), (canvas.ORANGE, canvas.BLUE), strict=True):
        print(f"from the flow of {name}: {max(off):.4f} at most")
        right.semilogy(
            range(1, steps + 1), off, color=colour, linewidth=2, label=f"flow of {name}"
        )
    right.set(xlabel=f"steps of {LONG}", ylabel="distance from gradient descent")
    right.set_title("Gradient descent follows a loss with a penalty on its gradient")
    right.spines[["top", "right"]].set_visible(False)
    right.legend()
    canvas.save(figure, file := out / "optimisers_as_solvers.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
