"""``--dry-run``: what a training would do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diffode.data import Dataset
from diffode.options import shown
from diffode.runs.plan import Plan
from diffode.runs.run import resolved, untrained
from diffode.runs.starting import with_starting
from diffode.training import checkpoint


def outline(
    plan: Plan, dataset: Dataset, folder: Path, last: Path | None
) -> list[tuple[str, str]]:
    """What a plan would train, where it would write, and all its options.

    Arguments:
        plan, dataset: what would be trained, and on what.
        folder: the run directory.
        last: the checkpoint from which a resumed run goes on.

    Raises:
        ValueError: a plan that cannot be carried out.
    """
    if last is None:
        header, stats = {"step": 0}, None
        plan, starting = with_starting(plan, dataset)
    else:
        (header, stats), starting = checkpoint.peek(last), checkpoint.starting_points(last)
    objective = untrained(plan, dataset, stats, starting)
    start = "" if starting is None else f"{len(starting)} points of {plan.prior_data}"
    rows = [
        ("field", plan.field),
        ("data", str(dataset)),
        *(("data, " + key, shown(value)) for key, value in plan.reading.items()),
        *([("prior data", start)] if start else []),
        ("labels", shown(plan.labels)),
        ("seed", str(plan.seed)),
        ("solver", plan.solver),
        ("run directory", f"{folder} (nothing was written)"),
        ("steps to do", str(max(0, plan.steps - header["step"]))),
    ]
    chosen = resolved(plan, objective)
    networks = {k: v for k, v in chosen.items() if isinstance(v, Mapping)}
    rows += [(name, _network(network)) for name, network in networks.items()]
    chosen = {**networks.get("network", {}), **chosen}  # its sizes are options too
    options = {**plan.options, **plan.training}
    named = {key: value for key, value in options.items() if key not in networks}
    return rows + [(key, _value(value, chosen.get(key))) for key, value in named.items()]


def _network(size: Mapping[str, object]) -> str:
    sizes = ", ".join(
        f"{key} {shown(value)}" for key, value in size.items() if key not in ("kind", "parameters")
    )
    parts = (str(size["kind"]), sizes, f"{size['parameters']:,} parameters")
    return ", ".join(part for part in parts if part)


def _value(value: object, chosen: object) -> str:
    """An option's value, and what was chosen for it where it is open."""
    return shown(value) if chosen in (None, value) else f"{shown(value)} ({shown(chosen)})"
