"""The names of diffode's own solvers; each is imported when it is used."""

from __future__ import annotations

from diffode.options import counted
from diffode.registry import register

ADAPTIVE_RK = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
ADAMS = ("explicit_adams", "implicit_adams")

_OWN = {
    "trig": (
        "trig:Trig",
        "multistep in the angle with a damped corrector, affine fields (order, corrected)",
    ),
    "heun": (
        "heun:Heun",
        "Heun's method, 2 evaluations a step, any field (Karras et al., 2022)",
    ),
    "ddim": (
        "ddim:DDIM",
        "DDIM (eta), any affine field, Poisson flows included (Song et al., 2021)",
    ),
    "dpm": ("families:DPM", "DPM-Solver, multistep (order; Lu et al., 2022)"),
    "dpm++": ("families:DPMpp", "DPM-Solver++, multistep (order; Lu et al., 2022)"),
    "dpm-single": (
        "singlestep:SingleStep",
        "DPM-Solver and ++ in single steps (form, order)",
    ),
    "unipc": (
        "families:UniPC",
        "UniPC: DPM-Solver++ with the free corrector (order; Zhao et al., 2023)",
    ),
    "deis": ("families:DEIS", "DEIS, tAB (order; Zhang and Chen, 2023)"),
    "ab": (
        "families:AdamsBashforth",
        "Adams-Bashforth of any form (form, variable, order, corrected)",
    ),
    "ancestral": (
        "stochastic:Ancestral",
        "DDPM's ancestral sampler, DDIM with eta = 1 (Ho et al., 2020)",
    ),
    "euler-maruyama": (
        "sde:EulerMaruyama",
        "Euler-Maruyama of the reverse SDE (eta, clock; Song et al., 2021)",
    ),
    "pc": (
        "sde:PredictorCorrector",
        "reverse diffusion and Langevin corrections (snr, corrections; Song et al., 2021)",
    ),
    "churn": (
        "churn:Churn",
        "EDM's stochastic Heun (s_churn, s_min, s_max, s_noise; Karras et al., 2022)",
    ),
    "sde-dpm++": (
        "stochastic:SDEDPMpp",
        "SDE-DPM-Solver++ along a Brownian path (order, eta; Lu et al., 2022)",
    ),
    "sde-interpolant": (
        "interpolant_sde:InterpolantSDE",
        "the SDE of an interpolant with noise (eps; Albergo et al., 2023)",
    ),
    "revise": (
        "revise:Revise",
        "guess x_0 and step back by it, corruptions such as masked tokens (Su, 2022)",
    ),
    "sde-trig": (
        "sde_trig:TrigSDE",
        "the reverse SDE in the angle, along a Brownian path (order, eta)",
    ),
    "jump": (
        "jump:Jump",
        "the jumps of a flow map, 1 evaluation a step (diffode distil; Boffi et al., 2025)",
    ),
}
_TOLERANT = {
    **dict.fromkeys(ADAPTIVE_RK, "adaptive Runge-Kutta (rtol, atol, max_nfe)"),
    "implicit_adams": "iterated multistep, equal steps",
    "scipy_solver": "scipy's LSODA (rtol, atol, max_nfe), on the CPU",
}
_FIXED = {
    **{name: f"fixed steps, {counted(k, 'evaluation')} a step" for name, k in FIXED.items()},
    "explicit_adams": "multistep, equal steps",
}
_ALIASES = {
    "heun": ("edm",),  # the deterministic sampler of EDM, algorithm 1, on its grid
    "churn": ("edm-stochastic",),
    "ancestral": ("ddpm",),
    "euler-maruyama": ("em",),
    "pc": ("predictor-corrector",),
    "sde-dpm++": ("dpmpp_2m_sde",),
    "dopri5": ("rk45",),  # the pair of Dormand and Prince, as in scipy
    "bosh3": ("rk23",),  # that of Bogacki and Shampine
    "scipy_solver": ("lsoda",),
}  # names by habit, each of the very same method
_2M = "the published DPM-Solver++(2M) is sde-dpm++ with eta=0; dpm++ has its integrals exact"
INEXACT = {
    **dict.fromkeys(("dpmpp_2m", "dpmpp-2m", "dpm++2m", "dpm++_2m", "dpm-solver++"), _2M),
    "plms": "deis with order=4 has its weights exact for the steps at hand",
    "lms": "ab with form=noise, variable=rho and order=4 is the nearest",
    "euler_a": "ancestral takes the same steps on a grid of its own",
    "euler_ancestral": "ancestral takes the same steps on a grid of its own",
    "dpm-solver": "dpm is the multistep form, dpm-single that in single steps",
}  # names by habit of methods that are not here as they were published, and what comes near
METHODS = (*ADAPTIVE_RK, *FIXED, *ADAMS, "scipy_solver")  # of torchdiffeq

for _name, (_home, _about) in _OWN.items():
    register(
        "solver",
        _name,
        f"diffode.solvers.{_home}",
        about=_about,
        aliases=_ALIASES.get(_name, ()),
    )
for _name in ("dopri5-rows", "tsit5-rows"):
    register(
        "solver",
        _name,
        "diffode.solvers.adaptive:Adaptive",
        about="adaptive for each sample apart (rtol, atol, max_nfe, clock)",
        arguments=(_name,),
    )
for _name in METHODS:
    _make = "tolerant" if _name in _TOLERANT else "fixed"
    _about = f"torchdiffeq: {(_TOLERANT | _FIXED)[_name]}"
    register(
        "solver",
        _name,
        f"diffode.solvers.ode:{_make}",
        about=_about,
        aliases=_ALIASES.get(_name, ()),
        arguments=(_name,),
    )
