r"""Points between two points, by way of their latents.

A straight line between two draws of a normal law in N dimensions passes where no draw lies: its
middle is :math:`\sqrt 2` times too close to the mean. So latents are interpolated by their
direction from the prior's mean m, along a great circle, and by their length.

A start of a Poisson flow is the point :math:`(x - m, r)` above the data, r the augmented radius.
Its elevation above the plane of the data, :math:`\phi = \arctan(r / |x - m|)`, and its distance
:math:`|(x - m, r)|` are linear between the two ends: on a hemisphere the way stays on it, and r is
positive. In the plane form r is the same everywhere, and the length of x follows from the
elevation. As D grows the length becomes linear, as it is for a normal prior.

Reference: White (2016), https://arxiv.org/abs/1609.04468 (great circles).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_final, as_points
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Latent, Start
from diffode.fields.complete import require_field
from diffode.priors import Spherical, is_student
from diffode.rng import Rng
from diffode.sampling.choosing import choose
from diffode.sampling.drawing import flow
from diffode.sampling.editing import both_ways, require_flow
from diffode.sampling.encoding import decode, encode
from diffode.solvers import Solution, Solver
from diffode.solvers.base import Final


def interpolate(
    field: Field,
    a: Tensor | Latent,
    b: Tensor | Latent,
    count: int = 9,
    y: Numbers | int | None = None,
    y_b: Numbers | int | None = None,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    final: Final | None = None,
    grid: str | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    """Points on the way from a to b, whose latents are interpolated, see `between`.

    The result has the rows of one pair after those of another, ``count`` for each, from a to b:
    ``x.unflatten(0, (-1, count))`` has a pair a row.

    Arguments:
        field: the field; where it holds a value for each row, a row is a pair.
        a, b: pairs of points in the units of the data, each of shape (K, *event). They are
            encoded, and come back to the error of the round trip (`diffode.sampling.round_trip`).
            Or pairs of latents, as `random_pairs` draws them. Half precision becomes single.
        count: points on each way, both ends included.
        y: labels, shape (K,), or one for all.
        y_b: labels of b, where they are others than those of a. A flow has one label a row, so
            the label changes half-way, in one jump.
        solver, nfe, steps, grid, options: for points as for `diffode.encode`, of each of the two
            ways; for latents as for `diffode.sample`, but that grid is a kind.
        final: for points, None is "none"; for latents as for `diffode.sample`.
        batch: rows held at once; None for all.
        progress: called with the number of rows that are done, encoded ones included.

    Raises:
        ValueError: points that are not finite or differ in number, a count below 2, a bound
            Poisson field, a solver that adds noise, or latents in exactly opposite directions.
        TypeError: points beside latents, a prior that is not spherical, or points of a generator.
    """
    require_field(field)
    count = as_count(count, "count", 2)
    moves = {"solver": solver, "nfe": nfe, "steps": steps, "grid": grid, **options}
    if not isinstance(a, Latent) and not isinstance(b, Latent):
        require_flow(field)
        prior = _prior(field)
        ends = _paired(field, a, b)
        labels = _labels(field, y, y_b, len(ends) // 2)
        told = None if labels is None else torch.cat(labels)
        field.require_rows(len(ends) // 2)
        pair = torch.arange(len(ends) // 2)
        own = field.rows(pair.repeat(2))
        there = encode(own, ends, y=told, batch=batch, progress=progress, **moves)
        way = between(prior, *_halves(there.latent), count)
        told = _on_the_way(labels, count)

        def show(done: int) -> None:
            if progress is not None:
                progress(len(ends) + done)

        final = final or "none"
        own = field.rows(pair.repeat_interleave(count))
        back = decode(own, way, y=told, final=final, batch=batch, progress=show, **moves)
        return both_ways(_repeated(there, count), back)
    if not (isinstance(a, Latent) and isinstance(b, Latent)):
        raise TypeError("got a latent and points; give two of one kind, points or latents")
    field.require_rows(len(a.x))
    a, b = (Latent(as_points(v.x, field.event_shape, n), v.q) for v, n in ((a, "a"), (b, "b")))
    way = between(_prior(field), a, b, count)
    told = _on_the_way(_labels(field, y, y_b, len(a.x)), count)
    final = as_final(final, type(field).__name__, isinstance(field, AffineField))
    choice = choose(field, solver, nfe, steps, grid, final, options)
    if choice.solver.normal_only:
        raise ValueError(
            f"{choice.solver.name} adds noise, other noise to each point of a way; use a solver "
            "that adds none, such as heun"
        )

    def start(rows: Tensor, rng: Rng, labels: Tensor | None) -> Start:
        own = field.rows(rows // count)
        q = None if way.q is None else way.q[rows].to(field.device)
        return Start(way.x[rows].to(field.device), own if q is None else own.bind(q))

    n = len(way.x)
    return flow(field, start, n, choice, final, nfe, y=told, batch=batch, progress=progress)


def random_pairs(field: Field, pairs: int, seed: int = 0) -> tuple[Latent, Latent]:
    """Pairs of latents, drawn as `diffode.sample` draws rows 0 and 1, 2 and 3, and so on."""
    n = 2 * as_count(pairs, "pairs", 1)
    x, own = field.start(n, Rng(as_count(seed, "seed")).rows(torch.arange(n)))
    latent = own.latent(x)
    one, two = slice(0, None, 2), slice(1, None, 2)
    q = (None, None) if latent.q is None else (latent.q[one], latent.q[two])
    return Latent(x[one], q[0]), Latent(x[two], q[1])


def between(prior: Spherical, a: Latent, b: Latent, count: int) -> Latent:
    r"""Latents on the way from a to b, ``count`` for each pair, one pair after the other.

    The direction of x - m turns along the great circle. Its length is linear for a normal prior;
    with r (a latent's :math:`\sigma_{max} q`, or :math:`\sigma \sqrt D` for a Student-t prior)
    the elevation above the plane of the data is. A latent of one number has no circle to turn on:
    the number itself, or its angle, is linear.

    Arguments:
        prior: the law of x, for its centre and scale.
        a, b: latents of shape (K, \*event), both with q or both without.
        count: of latents for each pair, the two ends included.

    Raises:
        ValueError: latents that do not pair, or directions that are exactly opposite.
    """
    if a.x.shape != b.x.shape or (a.q is None) != (b.q is None):
        raise ValueError(
            f"got latents of shapes {tuple(a.x.shape)} and {tuple(b.x.shape)}; wanted pairs, both "
            "with q or both without"
        )
    u = torch.linspace(0, 1, count, dtype=torch.float64, device=a.x.device)
    loc = torch.as_tensor(prior.loc).to(u)
    one, two = ((end.x.double() - loc).flatten(1) for end in (a, b))
    (e_one, length_one), (e_two, length_two) = _polar(one), _polar(two)
    e_one = e_one.where(length_one[:, None] != 0, e_two)
    e_two = e_two.where(length_two[:, None] != 0, e_one)
    length, r = _lengths(prior, (length_one, a.q), (length_two, b.q), u)
    x = loc + (length[..., None] * _turned(e_one, e_two, u)).reshape(-1, count, *a.x.shape[1:])
    x = x.to(a.x)
    x[:, 0], x[:, -1] = a.x, b.x
    if a.q is None or b.q is None:
        return Latent(x.flatten(0, 1))
    q = (r / prior.scale).to(a.q)
    q[:, 0], q[:, -1] = a.q, b.q
    return Latent(x.flatten(0, 1), q.flatten())


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (K, N) and lengths (K,) of x; one number has a sign and no direction."""
    if x.shape[1] == 1:
        return torch.ones_like(x), x[:, 0]
    length = x.norm(dim=1)
    return x / length.clamp_min(torch.finfo(x.dtype).tiny)[:, None], length


def _turned(one: Tensor, two: Tensor, u: Tensor) -> Tensor:
    """Directions (K, count, N) along the great circles between two, each (K, N)."""
    angle = 2 * torch.atan2((one - two).norm(dim=1), (one + two).norm(dim=1))
    if bool((angle > math.pi - 1e-6).any()):
        raise ValueError(
            "got latents in exactly opposite directions from the prior's mean; no way between "
            "them is the shortest: change one of the two a little"
        )
    angle = angle[:, None].clamp_min(1e-9)  # where sin(u angle) / sin(angle) is u
    first, last = (torch.sin(v * angle) / torch.sin(angle) for v in (1 - u, u))
    return first[..., None] * one[:, None] + last[..., None] * two[:, None]


def _lengths(
    prior: Spherical,
    one: tuple[Tensor, Tensor | None],
    two: tuple[Tensor, Tensor | None],
    u: Tensor,
) -> tuple[Tensor, Tensor]:
    """Lengths of x - m and augmented radii r along the ways, each (K, count)."""
    (length, q), (length_two, q_two) = one, two
    if q is not None and q_two is not None:
        r, r_two = prior.scale * q.to(u), prior.scale * q_two.to(u)
    elif is_student(prior):
        r = r_two = torch.full_like(length, prior.scale * math.sqrt(prior.dof))
    else:
        return torch.lerp(length[:, None], length_two[:, None], u), torch.zeros_like(u)
    phi = torch.lerp(torch.atan2(r, length)[:, None], torch.atan2(r_two, length_two)[:, None], u)
    if q is None:
        return r[:, None] / phi.tan(), r[:, None].expand_as(phi)
    far = torch.lerp(torch.hypot(length, r)[:, None], torch.hypot(length_two, r_two)[:, None], u)
    return far * phi.cos(), far * phi.sin()


def _prior(field: Field) -> Spherical:
    prior = field.prior
    if not isinstance(prior, Spherical):
        start = "that starts from points" if prior is None else f"with the prior {prior}"
        raise TypeError(
            f"got a field {start}; latents are interpolated about the mean of a spherical prior"
        )
    return prior


def _paired(field: Field, a: Tensor, b: Tensor) -> Tensor:
    """The points of a and then those of b."""
    one, two = (as_points(x, field.event_shape, n) for x, n in ((a, "a"), (b, "b")))
    if len(one) != len(two):
        raise ValueError(f"got {len(one)} points a and {len(two)} points b; wanted pairs")
    return torch.cat((one, two.to(one)))


def _halves(latent: Latent | None) -> tuple[Latent, Latent]:
    assert latent is not None
    one, two = latent.x.chunk(2)
    return Latent(one), Latent(two)


def _labels(
    field: Field, y: Numbers | int | None, y_b: Numbers | int | None, pairs: int
) -> tuple[Tensor, Tensor] | None:
    """The labels of both ends of each pair."""
    one, two = field.as_labels(y, pairs), field.as_labels(y_b, pairs)
    if one is None and two is not None:
        raise ValueError("got labels of b and none of a; give both")
    return None if one is None else (one, one if two is None else two)


def _on_the_way(labels: tuple[Tensor, Tensor] | None, count: int) -> Tensor | None:
    """The label of each row: that of a for the first half of the way, then that of b."""
    if labels is None:
        return None
    late = 2 * torch.arange(count) >= count - 1
    return torch.where(late, labels[1][:, None], labels[0][:, None]).flatten()


def _repeated(there: Solution, count: int) -> Solution:
    """The encoding of both ends as that of each row between them."""
    return replace(
        there,
        nfe_per_row=there.nfe_per_row.view(2, -1).amax(0).repeat_interleave(count),
        status=there.status.view(2, -1).amax(0).repeat_interleave(count),
    )
