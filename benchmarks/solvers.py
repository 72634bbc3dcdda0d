"""The default solver against the samplers of other libraries, at equal numbers of model calls.

    python -m benchmarks.solvers --beds six held
    python -m benchmarks.solvers --beds 2d/edm --ours default heun:final=none
    python -m benchmarks.solvers --beds 2d/edm 64d/edm --ours default:final=none fitted
    python -m benchmarks.solvers --networks runs/nets/edm runs/nets/vp
    python -m benchmarks.solvers --table

The other libraries are looked for in the Python that runs this; see benchmarks/peers.py. Their
cells are kept under --out, one file a bed, so that a stopped run goes on where it was; the cells
of this project's solvers are measured anew each time.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import beds as exact
from benchmarks import peers as others
from benchmarks import peers_networks as networks
from benchmarks import peers_problem
from benchmarks.beds import Bed
from benchmarks.peers_problem import End, Peer
from benchmarks.peers_tables import HEUN, LOG_Z, leaders, report
from diffode.fields import PoissonField
from diffode.fields.base import Start
from diffode.files import write_text
from diffode.sampling.drawing import sample
from diffode.solvers.fitting import fit_grid
from diffode.solvers.roughness import is_rough

USUAL = (
    "k-diffusion dpmpp_2m karras",
    "k-diffusion heun karras",
    "diffusers DPM++M2 karras",
    "diffusers DPM++M2 flow",
    "diffusers EDM DPM++2M karras",
)
NFE = (5, 8, 10, 15, 20, 50, 100)
Cell = dict[str, float]
Cells = dict[str, dict[str, Cell | None]]


def cell(bed: Bed, end: End, calls: int) -> Cell:
    """The scores of one end point.

    An end above t_data's level (a sampler that stops early) is scored as if it were at 0.
    """
    if end.rho > 1.05 * bed.rho_data:
        end = End(end.y, 0.0)
    if bed.law is None:
        rmse, kept, flips, median = networks.score(bed, end)
    else:
        rmse, kept, flips, median = exact.score(bed, end.y, end.rho)
    return {
        "calls": calls,
        "rho": end.rho,
        "rmse": rmse,
        "kept": kept,
        "flips": flips,
        "median": median,
    }


def measure_peer(bed: Bed, peer: Peer, nfe: tuple[int, ...]) -> dict[str, Cell | None]:
    """One sampler of another library at every number of calls; None where it has no run."""
    state = networks.state if bed.law is None else exact.reference
    p = peers_problem.problem(bed, state)
    cells: dict[str, Cell | None] = {}
    for n in nfe:
        found = peers_problem.run(peer, p, n)
        cells[str(n)] = None if found is None else cell(bed, *found)
    return cells


def measure_ours(bed: Bed, spec: str, nfe: tuple[int, ...]) -> dict[str, Cell | None]:
    """One of our solvers through `sample`, from the bed's start, its calls counted.

    Arguments:
        bed: the bed.
        spec: a solver's name, and after a colon arguments of `sample`, such as
            "default:final=none,grid=f1.5". "fitted" is the default on times fitted to the bed
            from other starting points, "fitted:weights" with fitted weights too.
        nfe: the numbers of calls.
    """
    name, _, rest = spec.partition(":")
    fitted = name == "fitted"
    options: dict[str, Any] = {}
    if not fitted:
        options = dict(pair.split("=", 1) for pair in rest.split(",") if pair)
        options["solver"] = name
    cells: dict[str, Cell | None] = {}
    is_rough(bed.field)  # a network is looked at once, before it is first solved
    for n in nfe:
        if fitted and n > 20:
            continue
        if fitted:
            times = fit_grid(bed.field, steps=n, weights=rest == "weights")
            options = {"grid": times, "final": "none"}
        field = bed.field
        inner: Any = getattr(field, "inner", field)
        calls, posterior = 0, inner.posterior

        def counted(*args: Any, go: Callable[..., Any] = posterior) -> Any:  # noqa: ANN401
            nonlocal calls
            calls += 1
            return go(*args)

        def start(rows: int, rng: Any, y: Tensor | None = None) -> Start:  # noqa: ANN401
            return Start(bed.x, bed.field)

        inner.posterior = counted
        field.start = start  # type: ignore[method-assign, assignment]
        try:
            s = sample(field, len(bed.x), nfe=n, **options)
        except ValueError:
            cells[str(n)] = None
            continue
        finally:
            del inner.posterior, field.start
        if not calls - fitted == s.nfe <= n:  # a fitted grid looks whether this is its field
            raise AssertionError(f"{spec} says {s.nfe} calls of {n} and made {calls}")
        denoised = s.final == "denoise"
        end = End(s.x if denoised else bed.y(s.x, s.t_end), 0.0 if denoised else bed.rho(s.t_end))
        cells[str(n)] = cell(bed, end, calls)
    return cells


def measure_log_z(bed: Bed) -> dict[str, Cell | None]:
    """PFGM's RK45 in log z at half decades of tolerance, a cell for each number of calls."""
    from benchmarks.peers_ode import log_z

    tolerances = [10.0 ** (-k / 2) for k in range(2, 13)]
    with torch.no_grad():
        return {
            str(calls): cell(bed, end, calls)
            for end, calls in log_z(peers_problem.problem(bed), tolerances)
        }


def file_of(bed: str, who: str, out: Path) -> Path:
    """Where the cells of a bed are kept."""
    return out / f"{bed.replace('/', '-')}.{who}.json"


def read(path: Path) -> Cells:
    """The cells that are kept, if any."""
    found: Cells = json.loads(path.read_text()) if path.exists() else {}
    return found


def fill(bed: Bed, options: argparse.Namespace) -> None:
    """Measure what is missing of one bed."""
    nfe = tuple(options.nfe)
    ours = {spec: measure_ours(bed, spec, nfe) for spec in options.ours}
    write_text(file_of(bed.name, "ours", options.out), json.dumps(ours))
    if options.no_peers:
        return
    path = file_of(bed.name, "peers", options.out)
    kept = read(path)
    poisson = isinstance(bed.field, PoissonField) and bed.law is not None
    if poisson and LOG_Z not in kept:
        kept[LOG_Z] = measure_log_z(bed)
        write_text(path, json.dumps(kept))
    kind = peers_problem.kind_of(bed.field.schedule)
    few = (poisson or bed.law is None) and not options.all
    wanted = finalists(kind, options.out) if few else None
    for peer in others.peers(kind):
        have = kept.get(peer.name, {})
        asked = (*nfe, 200, 400) if poisson and peer.name == HEUN else nfe
        missing = tuple(n for n in asked if str(n) not in have)
        if not missing or not re.search(options.peer, peer.name):
            continue
        if wanted is not None and peer.name not in wanted:
            continue
        kept[peer.name] = have | measure_peer(bed, peer, missing)
        write_text(path, json.dumps(kept))


def finalists(kind: str, out: Path) -> list[str]:
    """The peers for a network: the three best of its kind's exact beds, DPM++2M and Heun.

    Poisson beds, whose exact field is slow, have the same.
    """
    names = [
        n
        for group in ("six", "held", "fresh")
        for n in exact.names(group)
        if n.endswith(f"/{kind}")
    ]
    measured = [read(file_of(name, "peers", out)) for name in names]
    return [*leaders([cells for cells in measured if cells]), *USUAL]


def chosen(names: list[str]) -> list[str]:
    """The names of beds; a kind stands for all of its beds."""
    found: list[str] = []
    for name in names:
        found += exact.names(name) if name in exact.KINDS else [name]
    return found


def main() -> None:
    """Measure the cells that are missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/solvers"))
    parser.add_argument("--beds", nargs="*", default=["six", "held"], help="kinds or names")
    parser.add_argument("--networks", nargs="*", type=Path, default=[], help="run folders")
    parser.add_argument("--nfe", nargs="*", type=int, default=list(NFE))
    parser.add_argument("--ours", nargs="*", default=["default"], help="NAME[:key=value,...]")
    parser.add_argument("--peer", default="", help="only peers whose names match this")
    parser.add_argument(
        "--all", action="store_true", help="every peer, on networks and Poisson beds too"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave the peers' cells as is")
    parser.add_argument("--rows", type=int, default=networks.ROWS, help="of each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = [] if options.networks else chosen(options.beds)
    if not options.table:
        for line in [] if options.no_peers else others.missing():
            print(f"left out, not installed: {line}", file=sys.stderr)
        for name in names:
            fill(exact.bed(name), options)
        for run in options.networks:
            bed = networks.network_bed(run, options.rows)
            gap = networks.convergence(bed)
            print(f"{bed.name}: 400 and 800 steps differ by {gap:.1e}", file=sys.stderr)
            fill(bed, options)
    names += [f"network/{run.name}" for run in options.networks]
    cells = {}
    for name in names:
        ours = read(file_of(name, "ours", options.out))
        theirs = read(file_of(name, "peers", options.out))
        if ours and theirs:
            cells[name] = (ours, theirs)
    print(report(cells))


if __name__ == "__main__":
    main()
