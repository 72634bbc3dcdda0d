r"""The divergences that a GAN's loss stands for: functions h of the log-ratio that it moves by.

A critic that tells data p from samples q learns :math:`d = \log p / q` (any proper loss does,
up to the link of its output). A generator loss is -h(d), and its samples move by

.. math:: v = \nabla h(d) = h'(d) \, \nabla d, \qquad
          \frac{d}{dt} KL(q_t \| p) = -E_{q_t}\big[h'(d) \, |\nabla d|^2\big].

So the divergence falls for every q exactly if h' > 0: a *monotone* h. The choice of h changes the
clock, not the end. For an f-divergence :math:`D_f(p \| q) = E_q f(r)`, :math:`r = e^d`, the
flow of steepest descent has :math:`h = r f'(r) - f(r) = f^*(f'(r))` and :math:`h' = r^2 f''(r) >
0`; maximising the critic's output instead has :math:`h = f'(r)`, also monotone, but of another
divergence. To minimise :math:`E_q f(r)` with r held fixed is h = -f(r), whose slope changes sign.

WGAN, hinge and IPM losses are no function of the log-ratio and are not in this table.

References: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075; f-GAN (Nowozin et al.,
2016), https://arxiv.org/abs/1606.00709, table 2 (f and f\*).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from diffode.options import suggest

Elementwise = Callable[[Tensor], Tensor]

_TOP = 30.0
_REACH, _POINTS = 12.0, 481


@dataclass(frozen=True)
class Divergence:
    """A function of the critic's log-ratio d, elementwise; finite for |d| <= 1000 in float32.

    Exponentials of z are continued beyond z = 30 by their tangent: their slope stays at e^30.

    Attributes:
        name: what it is asked for by.
        h: the potential h(d) that samples climb; -h(d) is the generator's loss.
        slope: its derivative h'(d).
        output: what the best critic of this GAN gives at log-ratio d; the identity for those that
            are trained as classifiers and read as logits.
        monotone: whether h' > 0 for every d, so that samples approach the data.
        source: where it comes from, one line.
    """

    name: str
    h: Elementwise
    slope: Elementwise
    output: Elementwise
    monotone: bool
    source: str


def _exp(z: Tensor) -> Tensor:
    return z.clamp_max(_TOP).exp() * (1 + relu(z - _TOP))


def _exp_slope(z: Tensor) -> Tensor:
    return z.clamp_max(_TOP).exp()


def _softplus(z: Tensor) -> Tensor:
    return -logsigmoid(-z)


def _same(d: Tensor) -> Tensor:
    return d


def _naive_js(d: Tensor) -> Tensor:
    return _exp(d) * (_softplus(-d) - math.log(2)) + _softplus(d) - math.log(2)


def _naive_js_slope(d: Tensor) -> Tensor:
    first = _exp_slope(d) * (_softplus(-d) - math.log(2))
    return first - _exp(d) * torch.sigmoid(-d) + torch.sigmoid(d)


def shifted(shift: float) -> Divergence:
    """The vanilla loss of the logit plus C, which stalls below d = -C only: softplus(d + C)."""
    return Divergence(
        "shifted",
        lambda d: _softplus(d + shift),
        lambda d: torch.sigmoid(d + shift),
        _same,
        True,
        "MonoFlow's C (Yi et al., 2023, section 5.2)",
    )


_NAIVE = "E_q f(r) minimised with the ratio r held fixed (Yi et al., 2023, section 4.3)"
_FGAN = "f-GAN (Nowozin et al., 2016), table 2"
_TABLE = (
    Divergence(
        "logit", _same, torch.ones_like, _same, True, "loss -D of the logit; KL(q|p)'s own flow"
    ),
    Divergence(
        "ns",
        lambda d: logsigmoid(d),
        lambda d: torch.sigmoid(-d),
        _same,
        True,
        "non-saturating loss (Goodfellow et al., 2014)",
    ),
    Divergence(
        "vanilla",
        _softplus,
        torch.sigmoid,
        _same,
        True,
        "saturating loss, log(1 - D) (Goodfellow et al., 2014)",
    ),
    shifted(5.0),
    Divergence(
        "arcsinh",
        torch.asinh,
        lambda d: torch.rsqrt(1 + d * d),
        _same,
        True,
        "loss -asinh(D) of MonoFlow's code (Yi et al., 2023)",
    ),
    Divergence("kl", _exp, _exp_slope, lambda d: 1 + d, True, f"KL(p|q), {_FGAN}"),
    Divergence(
        "reverse-kl", _same, torch.ones_like, lambda d: -_exp(-d), True, f"KL(q|p), {_FGAN}"
    ),
    Divergence(
        "reverse-kl-trick",
        lambda d: -_exp(-d),
        lambda d: _exp_slope(-d),
        lambda d: -_exp(-d),
        True,
        "f-GAN of KL(q|p), its critic's output maximised (Nowozin et al., 2016, section 3.2)",
    ),
    Divergence(
        "pearson",
        lambda d: _exp(2 * d) - 1,
        lambda d: 2 * _exp_slope(2 * d),
        lambda d: 2 * (_exp(d) - 1),
        True,
        f"Pearson's chi-squared, {_FGAN}",
    ),
    Divergence(
        "hellinger",
        lambda d: _exp(d / 2) - 1,
        lambda d: _exp_slope(d / 2) / 2,
        lambda d: 1 - _exp(-d / 2),
        True,
        f"squared Hellinger, {_FGAN}",
    ),
    Divergence(
        "js",
        lambda d: _softplus(d) - math.log(2),
        torch.sigmoid,
        lambda d: math.log(2) + logsigmoid(d),
        True,
        f"Jensen-Shannon, {_FGAN}",
    ),
    Divergence(
        "exp",
        lambda d: _exp(1.5 * d),
        lambda d: 1.5 * _exp_slope(1.5 * d),
        _same,
        True,
        "loss -exp(1.5 D) of MonoFlow's code (Yi et al., 2023)",
    ),
    Divergence(
        "lsgan",
        lambda d: -torch.sigmoid(-d).square() / 2,
        lambda d: torch.sigmoid(d) * torch.sigmoid(-d).square(),
        torch.sigmoid,
        True,
        "least squares, a = 0, b = c = 1 (Mao et al., 2017, eq. 9)",
    ),
    Divergence(
        "lsgan-c0",
        lambda d: -torch.tanh(d / 2).square() / 2,
        lambda d: -torch.tanh(d / 2) * torch.sigmoid(d) * torch.sigmoid(-d) * 2,
        lambda d: torch.tanh(d / 2),
        False,
        "least squares, a = -1, b = 1, c = 0 (Mao et al., 2017, eq. 8): stops where p = q",
    ),
    Divergence(
        "naive-kl",
        lambda d: -d * _exp(d),
        lambda d: -_exp(d) - d * _exp_slope(d),
        _same,
        False,
        f"f = r log r, {_NAIVE}",
    ),
    Divergence(
        "naive-chi2",
        lambda d: -(_exp(d) - 1).square(),
        lambda d: -2 * (_exp(d) - 1) * _exp_slope(d),
        _same,
        False,
        f"f = (r - 1)^2, {_NAIVE}",
    ),
    Divergence(
        "naive-hellinger",
        lambda d: -(_exp(d / 2) - 1).square(),
        lambda d: -(_exp(d / 2) - 1) * _exp_slope(d / 2),
        _same,
        False,
        f"f = (sqrt(r) - 1)^2, {_NAIVE}",
    ),
    Divergence(
        "naive-js",
        _naive_js,
        _naive_js_slope,
        _same,
        False,
        f"f = r log r - (1 + r) log((1 + r) / 2), {_NAIVE}",
    ),
)
DIVERGENCES = {entry.name: entry for entry in _TABLE}


def get_divergence(h: str | Divergence | Elementwise, check: bool = True) -> Divergence:
    """The divergence of this name, or the one of a function h of the log-ratio.

    >>> import torch
    >>> get_divergence("ns").slope(torch.tensor([-20.0, 0.0]))
    tensor([1.0000, 0.5000])
    >>> get_divergence(lambda d: d + d.tanh()).monotone
    True

    Arguments:
        h: a name in `DIVERGENCES`, an entry of it, or an elementwise function that torch
            differentiates.
        check: refuse an h that is not monotone: a named one by the table, a function by its slope
            at 481 values of d from -12 to 12.

    Raises:
        ValueError: an unknown name, a function that is not elementwise, or one that fails the
            check.
    """
    if isinstance(h, str):
        if h not in DIVERGENCES:
            known = list(DIVERGENCES)
            raise ValueError(f"no h named {h!r}; {suggest(h, known)}h: {', '.join(known)}")
        h = DIVERGENCES[h]
    if isinstance(h, Divergence):
        if check and not h.monotone:
            raise ValueError(
                f"h {h.name!r} falls in places: samples there move away from the data, and "
                "KL(q|p) need not fall; take a monotone one such as 'logit', or pass check=False"
            )
        return h
    slope = torch.func.grad(lambda d: h(d).sum())
    d = torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64)
    shape = tuple(h(d).shape)
    if shape != tuple(d.shape):
        raise ValueError(
            f"h gave shape {shape} for d of shape {tuple(d.shape)}; it acts on each d alone"
        )
    rates = slope(d)
    bad = ~((rates > 0) & rates.isfinite())
    if check and bool(bad.any()):
        raise ValueError(
            f"h has slope {float(rates[bad][0]):.3g} at d = {float(d[bad][0]):.3g}; samples "
            "approach the data for every q only if h' > 0: pass check=False to use it all the same"
        )
    name = getattr(h, "__name__", type(h).__name__)
    return Divergence(name, h, slope, _same, not bool(bad.any()), "given by the caller")
