"""The names of diffode's own schedules, and the schedule of a name."""

from __future__ import annotations

from diffode import registry
from diffode.fields.schedules import Schedule

for _place in (
    "schedules:VP",
    "schedules:SubVP",
    "schedules:VE",
    "schedules:Karras",
    "schedules:Rectified",
    "schedules:Cosine",
):
    _name = _place.partition(":")[2].lower()
    registry.register("schedule", _name, f"diffode.fields.{_place}")


def named_schedule(name: str) -> Schedule:
    """The schedule of this name, or of a place whose code ran, with its defaults.

    Raises:
        ValueError: no such schedule.
        TypeError: something else has that name.
    """
    schedule = registry.find("schedule", name).function()
    if not (isinstance(schedule, Schedule) and hasattr(schedule, "span")):
        made = type(schedule).__name__
        raise TypeError(f"schedule {name!r} made a {made}; wanted a Schedule with a span")
    return schedule
