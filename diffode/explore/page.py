"""The explorer as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from string import Template
from typing import Any

from diffode.data import Dataset
from diffode.explore.page_files import MATHEMATICS, PAGE, WORKER, joined, script, source_hash
from diffode.explore.recorded import recorded
from diffode.explore.sets import as_set, own_sets
from diffode.explore.tables import tables
from diffode.fields import Field
from diffode.markup import script_json


def explorer_page(
    datasets: Sequence[Dataset] = (),
    title: str = "Explorer",
    field: Field | None = None,
) -> str:
    """The page, with data sets of one's own in front of the toys and the digits.

    Arguments:
        datasets: points of the plane or small images.
        title: at its top.
        field: one that was trained on the first of the data sets; the page shows what it does
            with some particles, which is recorded here.

    Raises:
        ValueError: data of another shape.
    """
    sets = [as_set(dataset) for dataset in datasets]
    known = {made["name"] for made in sets}
    sets += [made for made in own_sets() if made["name"] not in known]
    content: dict[str, Any] = {"sets": sets, "tables": tables(), "run": None}
    if field is not None and datasets:
        content["run"] = recorded(field, datasets[0], title, sets[0].get("centre"))
    style, mathematics, page = script("page.css"), joined(MATHEMATICS), joined(PAGE)
    return Template(script("page.html")).substitute(
        title=html.escape(title),
        policy=policy(style, mathematics, page),
        style=style,
        content=script_json(content),
        mathematics=mathematics,
        worker=joined(WORKER),
        page=page,
    )


def policy(style: str, *scripts: str) -> str:
    """What the page may load and run: its own scripts and style, and nothing from anywhere."""
    allowed = " ".join(f"'{source_hash(text)}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {allowed} blob:; worker-src blob:; "
        f"style-src '{source_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
