"""What a run was trained on, for the commands that measure it."""

from __future__ import annotations

from pathlib import Path

from diffode.cli.outcome import warn
from diffode.data import Dataset, load
from diffode.data.fingerprint import Fingerprint
from diffode.runs.plan import Plan
from diffode.runs.run import home, load_data


def data_of(run: Path, given: str | None = None) -> tuple[Plan, Dataset]:
    """A run's plan, and the data that it was trained on, or those given to measure it against.

    Where they are others, or cannot be told from others, that is said.

    Raises:
        ValueError: no run, or data that have changed since it was trained.
    """
    plan = Plan.read(home(run))
    if given is None:
        warn(unknown(run, plan))
        return plan, load_data(plan)
    dataset = load(given)
    if plan.fingerprint is None or plan.fingerprint.differs(Fingerprint.of(dataset)):
        warn(f"{given} is not known to be the data that this run was trained on")
    return plan, dataset


def unknown(run: Path, plan: Plan) -> str:
    """What to say of a run of an older version, whose data cannot be told from others."""
    if plan.fingerprint is not None:
        return ""
    return (
        f"{run} is of an older version and does not tell which values its data had; {plan.data} "
        "is taken as it is now"
    )
