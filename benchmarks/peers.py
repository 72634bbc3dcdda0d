"""Samplers of other libraries on any bed, with every model call counted.

The libraries live in an environment of their own, so that this project does not depend on them;
one that is absent is left out, and `missing` says how to get it:

    python -m venv PEERS && PEERS/bin/pip install torch diffusers torchdiffeq scipy
    PEERS/bin/pip install --no-deps azula flow_matching k-diffusion && PEERS/bin/pip install -e .
    PEERS/bin/python -m benchmarks.solvers

Each run starts on the bed's own trajectory at the sampler's first noise level, and is scored at
the level that the sampler ends at.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks.peers_problem import Peer

HOW = {
    "azula": "pip install --no-deps azula, with einops and tqdm",
    "diffusers": "pip install diffusers",
    "dpm_solver_pytorch": "put dpm_solver_pytorch.py of github.com/LuChengTHU/dpm-solver on the "
    "path",
    "flow_matching": "pip install --no-deps flow_matching",
    "k_diffusion": "pip install --no-deps k-diffusion",
    "torchdiffeq": "pip install torchdiffeq",
}


def missing() -> list[str]:
    """The libraries that are not installed here, each with how to get it."""
    return [f"{name}: {how}" for name, how in HOW.items() if not _has(name)]


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def versions() -> dict[str, str]:
    """The versions of the libraries that are installed here."""
    from importlib import metadata

    found = {}
    for name in HOW:
        if _has(name):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = "a single file"
    return found


def peers(kind: str) -> list[Peer]:
    """Every sampler for problems of this kind whose library is installed."""
    found: list[Peer] = []
    if _has("azula"):
        from benchmarks import peers_azula

        found += peers_azula.peers()
    if _has("k_diffusion"):
        from benchmarks import peers_kdiffusion

        directory = importlib.util.find_spec("k_diffusion")
        assert directory is not None and directory.origin is not None
        found += peers_kdiffusion.peers(Path(directory.origin).parent)
    if _has("dpm_solver_pytorch"):
        from benchmarks import peers_dpmsolver

        found += peers_dpmsolver.peers()
    if _has("diffusers"):
        from benchmarks import peers_diffusers

        found += peers_diffusers.peers()
    if _has("torchdiffeq"):
        from benchmarks import peers_ode

        found += peers_ode.peers()
        if _has("flow_matching"):
            found += peers_ode.flow_matching()
    return [peer for peer in found if kind in peer.kinds]
