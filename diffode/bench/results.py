"""The results of a comparison: what reports are made from, on disk and merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from diffode.bench.models import alike
from diffode.bench.stored import fault, with_errors, write_part
from diffode.inputs import inside, parse_json, quoted, read_bytes, read_text
from diffode.viz import canvas

RESULTS = "results.json"
FORMAT = 2
LARGEST = 16 * 2**20  # bytes of a picture, at most
_WANTED = "give the folder of a finished diffode bench"


@dataclass(frozen=True)
class Results:
    """All that a report is made from.

    Attributes:
        configs: the comparison as it was asked for, complete; several where they were merged.
        references: of each data set, what it was measured against, and the floor.
        metrics: of each data set, the metrics in order, with what they are and what is better.
        models: what is known of each training, by its key.
        cells: the figures of each cell.
        folders: where pictures lie.
        budgets: the error budgets of each data set, if they were asked for, or why there is none.
    """

    configs: list[dict[str, Any]]
    references: dict[str, dict[str, Any]]
    metrics: dict[str, list[dict[str, str]]]
    models: dict[str, dict[str, Any]]
    cells: list[dict[str, Any]]
    folders: list[Path] = field(default_factory=list)
    budgets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def named_configs(self) -> dict[str, dict[str, Any]]:
        """Each configuration by the file that keeps it."""
        if len(self.configs) == 1:
            return {"config.yaml": self.configs[0]}
        return {f"config-{k}.yaml": config for k, config in enumerate(self.configs, 1)}

    @property
    def command(self) -> str:
        """The command lines that make it from these files."""
        if len(self.configs) == 1:
            return "diffode bench config.yaml --out OUT"
        parts = {name: f"OUT-{k}" for k, name in enumerate(self.named_configs, 1)}
        merged = " ".join(f"--merge {folder}" for folder in parts.values())
        each = [f"diffode bench {name} --out {folder}" for name, folder in parts.items()]
        return "\n".join([*each, f"diffode bench {merged} --out OUT"])

    @property
    def unit(self) -> str:
        """What allowances count: calls of the network, which guided fields take more of."""
        guided = any(config.get("guidance") for config in self.configs)
        return "network calls" if guided else "evaluations"

    @property
    def pictures(self) -> list[str]:
        """The names of all pictures, each once, relative to a folder."""
        shown = [c["picture"] for c in self.cells]
        shown += [r["picture"] for r in self.references.values()]
        shown += [m.get("paths") for m in self.models.values()]
        return list(dict.fromkeys(filter(None, shown)))

    def picture(self, name: str) -> bytes | None:
        """The PNG of that name, if it is still there.

        Raises:
            ValueError: a name that leads out of a folder, or a file that is no PNG.
        """
        for folder in self.folders:
            path = inside(folder, name)
            if path is not None:
                content = read_bytes(path, LARGEST)
                if not canvas.is_png(content):
                    raise ValueError(f"{path} is not a whole PNG, as {RESULTS} there says")
                return content
        return None

    def write(self, folder: Path) -> None:
        """Write results.json, and the pictures that lie elsewhere."""
        for name in self.pictures:
            if inside(folder, name) is None and (picture := self.picture(name)) is not None:
                canvas.write(picture, folder / name)
        stored = {k: v for k, v in vars(self).items() if k != "folders"}
        write_part(folder / RESULTS, {"format": FORMAT, **stored})


def read_results(folder: str | Path) -> Results:
    """The results that a comparison left.

    Raises:
        ValueError: no results there, those of another format, or damaged ones; a picture whose
            name leads out of the folder, or that is no PNG.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise ValueError(f"{folder} has no {RESULTS}; {_WANTED}")
    text = read_text(path)
    stored = parse_json(text)
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is damaged: it is no JSON; {_WANTED}")
    if (known := stored.pop("format", None)) != FORMAT:
        raise ValueError(
            f"{path} has format {quoted(known)}, this version reads {FORMAT}; make it anew"
        )
    if (said := fault(text)) is not None:
        raise ValueError(f"{path} is damaged: {said}; {_WANTED}")
    stored["cells"] = [with_errors(cell) for cell in stored["cells"]]
    stored["references"] = {k: with_errors(part) for k, part in stored["references"].items()}
    names = Results.__dataclass_fields__.keys() - {"folders"}
    found = Results(**{k: v for k, v in stored.items() if k in names}, folders=[Path(folder)])
    for name in found.pictures:
        found.picture(name)
    return found


def merge(parts: list[Results]) -> Results:
    """The results of several comparisons as one.

    Raises:
        ValueError: the same data set measured against different references, a field trained in
            different ways, or two figures for one cell.
    """
    first, cells = parts[0], list(parts[0].cells)
    for k, part in enumerate(parts[1:], 1):
        for earlier in parts[:k]:
            _require_one_reference(earlier, part)
            _require_one_way(earlier, part)
        taken = {_place(c) for c in cells}
        for cell in part.cells:
            if _place(cell) in taken:
                raise ValueError(
                    f"cannot merge: {' '.join(map(str, _place(cell)))} is in "
                    f"{first.folders[0]} and in {part.folders[0]}; leave one out"
                )
        cells += part.cells
    budgets: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for name, more in part.budgets.items():
            budgets.setdefault(name, []).extend(more)
    return Results(
        configs=[config for part in parts for config in part.configs],
        references=_first(part.references for part in parts),
        metrics=_first(part.metrics for part in parts),
        models={k: v for part in parts for k, v in part.models.items()},
        cells=cells,
        folders=[folder for part in parts for folder in part.folders],
        budgets=budgets,
    )


def _first(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All that several have by name, each as the first of them has it."""
    found: dict[str, Any] = {}
    for part in parts:
        found |= {name: value for name, value in part.items() if name not in found}
    return found


def _require_one_reference(first: Results, part: Results) -> None:
    """Refuse figures of one data set against two references."""
    for name in filter(first.references.__contains__, part.references):
        known, about = first.references[name]["about"], part.references[name]["about"]
        for key in known.keys() | about.keys():
            if known.get(key) != about.get(key):
                raise ValueError(
                    f"cannot merge: {name} was measured with {key} {known.get(key)} in "
                    f"{first.folders[0]} and {about.get(key)} in {part.folders[0]}; run both "
                    "against one reference"
                )


def _require_one_way(first: Results, part: Results) -> None:
    """Refuse fields of one data set that were not trained alike.

    One field may differ in its seed alone, and those that are trained alike in their recipe's own
    options; steps may differ where a time was given instead.
    """
    timed = all(config["seconds"] is not None for config in (*first.configs, *part.configs))
    for mine, other in product(first.models.values(), part.models.values()):
        plans = mine["plan"], other["plan"]
        if plans[0]["data"] != plans[1]["data"]:
            continue
        same = plans[0]["field"] == plans[1]["field"]
        if not same and {mine["budget"], other["budget"]} != {"shared"}:
            continue
        ways = [
            {"labels": p["labels"]}
            | alike(p["options"], p["training"])
            | (p["options"] if same else {})
            for p in plans
        ]
        for key in ways[0].keys() & ways[1].keys() - ({"steps"} if timed else set()):
            if ways[0][key] != ways[1][key] and key == "identity":
                raise ValueError(
                    f"cannot merge: on {plans[0]['data']} {plans[0]['field']} is another field in "
                    f"{first.folders[0]} than in {part.folders[0]}; it has changed between the "
                    "two: compare it anew"
                )
            if ways[0][key] != ways[1][key]:
                raise ValueError(
                    f"cannot merge: on {plans[0]['data']} {plans[0]['field']} was trained with "
                    f"{key} {ways[0][key]} in {first.folders[0]} and {plans[1]['field']} with "
                    f"{ways[1][key]} in {part.folders[0]}; train all in one way"
                )


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("data", "field", "seed", "solver", "allowed", "tolerance")
    return tuple(cell[k] for k in keys)
