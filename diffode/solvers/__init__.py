"""Solvers: they move the points of any field, and count what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffode.inputs import quoted
from diffode.options import suggest, validate
from diffode.solvers import adaptive, ode
from diffode.solvers.base import CountedField, Solution, Solver
from diffode.solvers.churn import Churn
from diffode.solvers.ddim import DDIM
from diffode.solvers.families import DEIS, DPM, AdamsBashforth, DPMpp, UniPC
from diffode.solvers.grids import grid
from diffode.solvers.heun import Heun
from diffode.solvers.sde import EulerMaruyama, PredictorCorrector
from diffode.solvers.sde_trig import TrigSDE
from diffode.solvers.singlestep import SingleStep
from diffode.solvers.stochastic import Ancestral, SDEDPMpp
from diffode.solvers.trig import Trig

__all__ = ["CountedField", "Solution", "Solver", "get_solver", "grid", "names"]

DEFAULT = "trig"
_ABOUT = {
    "trig": "multistep in the angle with a damped corrector, affine fields (order, corrected)",
    "heun": "Heun's method, 2 evaluations a step, any field (Karras et al., 2022)",
    "ddim": "DDIM (eta), any affine field, Poisson flows included (Song et al., 2021)",
    "dpm": "DPM-Solver, multistep (order; Lu et al., 2022)",
    "dpm++": "DPM-Solver++, multistep (order; Lu et al., 2022)",
    "dpm-single": "DPM-Solver and ++ in single steps (form, order)",
    "unipc": "UniPC: DPM-Solver++ with the free corrector (order; Zhao et al., 2023)",
    "deis": "DEIS, tAB (order; Zhang and Chen, 2023)",
    "ab": "Adams-Bashforth of any form (form, variable, order, corrected)",
    "ancestral": "DDPM's ancestral sampler, DDIM with eta = 1 (Ho et al., 2020)",
    "euler-maruyama": "Euler-Maruyama of the reverse SDE (eta, clock; Song et al., 2021)",
    "pc": "reverse diffusion and Langevin corrections (snr, corrections; Song et al., 2021)",
    "churn": "EDM's stochastic Heun (s_churn, s_min, s_max, s_noise; Karras et al., 2022)",
    "sde-dpm++": "SDE-DPM-Solver++ along a Brownian path (order, eta; Lu et al., 2022)",
    "sde-trig": "the reverse SDE in the angle, along a Brownian path (order, eta)",
}
_OWN: dict[str, type[Solver]] = {
    "trig": Trig,
    "heun": Heun,
    "ddim": DDIM,
    "dpm": DPM,
    "dpm++": DPMpp,
    "dpm-single": SingleStep,
    "unipc": UniPC,
    "deis": DEIS,
    "ab": AdamsBashforth,
    "ancestral": Ancestral,
    "euler-maruyama": EulerMaruyama,
    "pc": PredictorCorrector,
    "churn": Churn,
    "sde-dpm++": SDEDPMpp,
    "sde-trig": TrigSDE,
}


def names() -> list[str]:
    """The names that `get_solver` knows, beside "default"."""
    return [*_OWN, *adaptive.METHODS, *ode.METHODS]


def describe() -> list[tuple[str, str]]:
    """The names with one line each."""
    rows = [
        (name, "adaptive for each sample apart (rtol, atol, max_nfe, clock)")
        for name in adaptive.METHODS
    ]
    return [(name, _ABOUT[name]) for name in _OWN] + rows + ode.describe()


def get_solver(name: str = "default", **options: Any) -> Solver:  # noqa: ANN401
    """The solver of this name.

    Arguments:
        name: as listed by ``diffode solvers``; "default" is the one that serves best untuned.
        options: of that solver, such as ``eta`` (ddim), ``rtol`` and ``atol`` (adaptive methods).

    Raises:
        ValueError: an unknown name or option, or an option out of range.
    """
    name = DEFAULT if name == "default" else str(name)
    make = maker(name)
    first = () if name in _OWN else (name,)
    return make(*first, **validate(f"solver {name!r}", options, make))


def maker(name: str) -> Callable[..., Solver]:
    """The class or function that makes a solver; its keyword-only parameters are the options.

    Raises:
        ValueError: an unknown name.
    """
    name = DEFAULT if name == "default" else name
    if name not in names():
        raise ValueError(
            f"no solver named {quoted(name)}; {suggest(name, names())}"
            f"solvers: {', '.join(names())}"
        )
    if name in _OWN:
        return _OWN[name]
    if name in adaptive.METHODS:
        return adaptive.Adaptive
    tolerant = name in ode.ADAPTIVE_RK or name in ("implicit_adams", "scipy_solver")
    return ode.tolerant if tolerant else ode.fixed
