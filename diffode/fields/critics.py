r"""Critics: learned log-ratios d(x, t) = log p / q_t, and a bank of them, one for each stage.

A critic is a module called as ``critic(x, t, y)`` with x (B, \*event), t () or (B,) in the
field's own time and y (B,) labels or None; it returns d of shape (B,), a function of each row
alone (no batch normalisation). It states ``event_shape``, and ``smooth = True`` if its second
derivatives tell the divergence of its gradient; a piecewise-linear one (ReLU, LeakyReLU) has a
Laplacian of 0 almost everywhere. Any module with this call will do; without the attribute it
counts as not smooth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from diffode.doors import as_labels, as_state, as_time
from diffode.fields.tables import Tables

Blend = Literal["none", "linear"]
_NEAR = 1e-4  # of the shortest stage: times this close before an edge belong to the next stage


def is_smooth(critic: nn.Module) -> bool:
    """Whether a critic declares that its second derivatives can be used."""
    return bool(getattr(critic, "smooth", False))


def ascent(critic: nn.Module, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """The gradient of d(x, t) in x, shape (B, \\*event), for a critic that treats rows apart.

    It composes with the transforms of ``torch.func`` and needs no gradient mode.
    """
    gradient: Tensor = torch.func.grad(lambda z: critic(z, t, y).sum())(x)
    return gradient


class CriticBank(Tables):
    r"""Critics of one architecture, each for a stage of time: :math:`d(x, t) = d_{k(t)}(x)`.

    Stage k covers :math:`[t_k, t_{k+1})`, the last one its end as well. Euler steps on the times
    :math:`t_k` use every critic once. Training takes the same steps: it records each critic as
    the samples move on. The weights of all stages are held stacked, as buffers that no optimiser
    moves. A stage that was not recorded has weights of 0, and nothing moves there.

    Arguments:
        critic: the architecture; its weights are not used.
        stages: the number N of critics.
        horizon: T; the stages are equal, :math:`t_k = k T / N`.
        times: the N + 1 edges instead, increasing from 0.
        blend: "linear" goes linearly from each stage's d at :math:`t_k` to the next one's, which
            is continuous in t, for solvers other than Euler; at the edges nothing changes.

    Raises:
        ValueError: no stages, or times that do not fit.
    """

    edges: Tensor

    def __init__(
        self,
        critic: nn.Module,
        stages: int,
        horizon: float = 1.0,
        times: Sequence[float] | None = None,
        blend: Blend = "none",
    ) -> None:
        super().__init__()
        if stages < 1:
            raise ValueError(f"got {stages} stages; a bank has at least 1")
        if blend not in ("none", "linear"):
            raise ValueError(f"got blend {blend!r}; wanted 'none' or 'linear'")
        if times is None:
            times = [horizon * k / stages for k in range(stages + 1)]
        edges = torch.tensor(times, dtype=torch.float64)
        increasing = len(edges) == stages + 1 and bool((edges.diff() > 0).all())
        if not increasing or float(edges[0]) != 0 or not bool(edges.isfinite().all()):
            raise ValueError(
                f"got {len(edges)} times for {stages} stages; wanted {stages + 1} finite ones, "
                "increasing from 0"
            )
        self.event_shape = tuple(critic.event_shape)  # type: ignore[arg-type]
        self.smooth, self.blend, self.stages = is_smooth(critic), blend, stages
        self.times = tuple(edges.tolist())
        self.register_buffer("edges", edges, persistent=False)
        self._template = (copy.deepcopy(critic).to("meta"),)  # in a tuple: no submodule
        for name, value in _state(critic):
            self.register_buffer(_flat(name), value.new_zeros((stages, *value.shape)))

    def keeps(self, name: str) -> bool:
        """The stages' edges keep their type, the critics' weights do not."""
        return name == "edges"

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The log-ratio at (x, t), shape (B,); rows may be in different stages."""
        x = as_state(x, self.event_shape)
        t, y = as_time(t, x), as_labels(y, len(x))
        k = self.stage_at(t)
        d = self._rows_of(k, x, t, y)
        if self.blend == "none":
            return d
        following = (k + 1).clamp_max(self.stages - 1)
        start, end = _pick(self.edges, k), _pick(self.edges, k + 1)
        weight = ((t - start) / (end - start)).clamp(0, 1).to(d)
        return (1 - weight) * d + weight * self._rows_of(following, x, t, y)

    def stage_at(self, t: Tensor) -> Tensor:
        """The index of the stage at time t; a time within rounding of :math:`t_k` has stage k."""
        edges = self.edges[1:-1].to(t)
        near = _NEAR * self.edges.diff().min().to(t)
        return (t[..., None] + near >= edges).sum(-1)

    @torch.no_grad()
    def record(self, k: int, critic: nn.Module) -> None:
        """Write a critic's weights as those of stage k.

        Raises:
            ValueError: no such stage, or a critic of another architecture.
        """
        if not 0 <= k < self.stages:
            raise ValueError(f"got stage {k}; this bank has stages 0 to {self.stages - 1}")
        given = dict(_state(critic))
        own = {name: value.shape for name, value in _state(self._template[0])}
        if {name: value.shape for name, value in given.items()} != own:
            raise ValueError("this critic's weights have other names or shapes than the bank's")
        for name, value in given.items():
            self.get_buffer(_flat(name))[k].copy_(value)

    @torch.no_grad()
    def stage(self, k: int) -> nn.Module:
        """A critic of its own with the weights of stage k."""
        critic = copy.deepcopy(self._template[0]).to_empty(device=self.edges.device)
        for name, value in _state(critic):
            value.copy_(self.get_buffer(_flat(name))[k])
        return critic

    def _rows_of(self, k: Tensor, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """Each row's d by the critic of its stage k, shape () or (B,)."""
        if k.ndim == 0:
            return self._by(k, x, t, y)
        present = k.unique()  # type: ignore[no-untyped-call]
        if len(present) == 1:
            return self._by(present[0], x, t, y)
        places = [(k == stage).nonzero()[:, 0] for stage in present]
        parts = [
            self._by(stage, x[i], t[i], None if y is None else y[i])
            for stage, i in zip(present, places, strict=True)
        ]
        return torch.cat(parts)[torch.cat(places).argsort()]

    def _by(self, k: Tensor, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        template = self._template[0]
        weights = {name: _pick(self.get_buffer(_flat(name)), k) for name, _ in _state(template)}
        d: Tensor = torch.func.functional_call(template, weights, (x, t, y))
        return d

    def extra_repr(self) -> str:
        """The stages and the weights of all of them."""
        return f"stages={self.stages}, blend={self.blend!r}, weights={self.size:,}"

    @property
    def size(self) -> int:
        """How many weights all stages have together."""
        return self.stages * sum(value.numel() for _, value in _state(self._template[0]))


def _state(critic: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(critic.named_parameters(), critic.named_buffers())


def _flat(name: str) -> str:
    return f"stage-{name.replace('.', '-')}"  # a buffer's name has no dot


def _pick(table: Tensor, k: Tensor) -> Tensor:
    """``table[k]``, also where k is batched by ``torch.vmap``."""
    return table.index_select(0, k.reshape(-1)).view(k.shape + table.shape[1:])
