"""A comparison: train what is missing, fill the cells that are missing, and gather the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode import code
from diffode.bench.budgeting import budgeted
from diffode.bench.cells import FORMAT, Cell, cells_of, own_steps, run_cell, split, write_cell
from diffode.bench.config import BenchConfig
from diffode.bench.models import (
    Model,
    alike,
    describe,
    keeps_own,
    model_of,
    paced,
    plan_of,
    train_model,
)
from diffode.bench.pictures import SHOWN, thumbnail
from diffode.bench.portraits import portray
from diffode.bench.results import Results
from diffode.bench.sets import datasets_of
from diffode.bench.stored import CellFigures, Reference, read_part, write_part
from diffode.bench.untrained import Subject, Untrained, guidances_of, opened, taken
from diffode.data import Dataset
from diffode.data.memory import Data
from diffode.data.rows import some_rows
from diffode.devices import choose
from diffode.fields.base import Field
from diffode.files import is_main_process, require_writable, write_text
from diffode.inputs import file_word, inside
from diffode.metrics.panel import Panel
from diffode.processes import place
from diffode.runs.guiding import Guidance
from diffode.runs.keys import key_of, key_of_values
from diffode.runs.run import untrained
from diffode.runs.suited import suited
from diffode.runs.targets import Target
from diffode.sharing import divided, one_before_the_others
from diffode.training.trainer import TrainState
from diffode.viz import canvas

Progress = Callable[[int, int, str], None]
VIEWED = 20_000  # training points whose extent is the view of a picture


def compare(
    config: BenchConfig,
    out: Path,
    progress: Progress | None = None,
    data: Mapping[str, Data] | None = None,
    trust: bool = False,
) -> Results:
    """Carry out a comparison, going on where a stopped one was, and keep its config.yaml.

    Arguments:
        config: what to compare.
        out: the folder of its models, cells and results.
        progress: called with the pieces of work done, those there are, and the piece at hand.
        data: what is in memory (see `diffode.data.as_dataset`) of the sets that the configuration
            names; the others are loaded.
        trust: whether code that runs among the TARGETs name may be run.

    Raises:
        ValueError: a configuration that cannot be carried out, before anything is trained.
        TypeError: data in memory that are none.
    """
    if config.seconds is not None and place().total > 1:
        raise ValueError(
            "several processes would measure different paces; give steps, not seconds"
        )
    device, sets = choose(config.device), datasets_of(config, data or {})
    for field in config.fields:
        plan_of(config, field, config.data[0], 0)
    targets, guided = opened(config, trust), guidances_of(config, trust)
    for name in ("cells", "floors", "models"):
        inside(out, name)  # a link would be refused with the pictures, after all the work
    work = [_Part(config, name, dataset, targets, guided, out) for name, dataset in sets.items()]
    require_writable(out)
    if is_main_process():
        write_text(out / "config.yaml", config.dump())
    total = sum(part.pieces for part in work)
    done = 0

    def say(note: str, more: int = 0) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total, note)

    if place().total > 1:
        with divided() as mine:
            for part in work:
                part.train_some(mine, say)
        with divided() as mine:
            for part in work:
                part.fill_some(mine, device, say)
    with one_before_the_others():  # which find all that it has written
        for part in work:
            part.run(device, say)
    results = Results(
        configs=[config.model_dump()],
        references={part.name: part.reference for part in work},
        metrics={part.name: [m.asdict() for m in part.panel.metrics] for part in work},
        models={k: v for part in work for k, v in part.models.items()},
        cells=[cell for part in work for cell in part.cells],
        folders=[out],
        budgets={part.name: part.budgets for part in work if part.budgets},
    )
    if is_main_process():
        results.write(out)
    return results


class _Part:
    """The share of a comparison that is on one data set."""

    def __init__(
        self,
        config: BenchConfig,
        name: str,
        dataset: Dataset,
        targets: list[Target],
        guided: list[Guidance],
        out: Path,
    ) -> None:
        self.config, self.name, self.dataset, self.out = config, name, dataset, out
        self.guided = guided
        for guide in guided[0].others if guided else []:
            guide.require_fits(dataset, name, True)
        self.panel = Panel(
            dataset, config.samples, config.features, labels=config.labels, metrics=config.metrics
        )
        self.reference: dict[str, Any] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.cells: list[dict[str, Any]] = []
        self.budgets: list[dict[str, Any]] = []
        steps = {name: self._own_steps(name) for name in config.fields}
        steps |= {t.name: own_steps(config, t.field, t.name, guided, dataset) for t in targets}
        self.wanted: list[tuple[Subject, list[Cell]]] = [
            (model, list(cells_of(config, model, steps[model.name], guided)))
            for seed in config.seeds
            for model in self._subjects(targets, seed)
        ]
        self.pieces = sum(1 + len(cells) for _, cells in self.wanted)
        self.pieces += 0 if config.budget is None else len({m.name for m, _ in self.wanted})

    def _subjects(self, targets: list[Target], seed: int) -> list[Subject]:
        """All that is compared, with one seed."""
        trained = [self._model(field, seed) for field in self.config.fields]
        return trained + [
            taken(self.config, t, self.name, self.dataset, seed, self.out) for t in targets
        ]

    def _own_steps(self, field: str) -> int | None:
        plan = suited(plan_of(self.config, field, self.name, 0), self.dataset)
        made = untrained(plan, self.dataset).field
        return own_steps(self.config, made, field, self.guided, self.dataset)

    def _model(self, field: str, seed: int) -> Model:
        plan = suited(plan_of(self.config, field, self.name, seed), self.dataset)
        if self.config.seconds is not None:
            plan = paced(plan, self.dataset, self.config.seconds, self.out)
        values = key_of_values(self.dataset.train, self.dataset.train_labels)
        return model_of(plan, values, self.out)

    def train_some(self, mine: Iterator[bool], say: Callable[..., None]) -> None:
        """Train the models that fall to this process."""
        for model, _ in self.wanted:
            if next(mine):
                self._known(model, say, self._called(model))

    def fill_some(
        self, mine: Iterator[bool], device: torch.device, say: Callable[..., None]
    ) -> None:
        """Fill the cells that fall to this process."""
        for model, cells in self.wanted:
            own = [cell for cell in cells if next(mine)]
            if own and "refused" not in self._known(model, say, self._called(model)):
                self._fill(model.field().to(device).eval(), own, say)

    def run(self, device: torch.device, say: Callable[..., None]) -> None:
        """Train and measure what is missing."""
        say(f"the floor of {self.name}")
        self.reference = self._floor()
        for model, cells in self.wanted:
            what = self._called(model)
            facts = self._known(model, say, what)
            say(f"opened {what}" if isinstance(model, Untrained) else f"trained {what}", 1)
            self.models.setdefault(model.key, facts)
            if "refused" in facts:
                why = {"refused": facts["refused"], "picture": None}
                self.cells += [cell.place | why for cell in cells]
                say(f"{what} diverged", len(cells))
            else:
                self._measure(model, cells, device, say, what)
            if model.seed == self.config.seeds[0] and self.config.budget is not None:
                say(f"{what}: error budget")
                if "refused" not in facts:
                    self.budgets.append(budgeted(model, self.dataset, self.config, self.out))
                say(f"{what}: error budget", 1)

    def _called(self, model: Subject) -> str:
        return f"{code.short(model.name)} on {self.name}, seed {model.seed}"

    def _known(self, model: Subject, say: Callable[..., None], what: str) -> dict[str, Any]:
        """What is known of a field once it is there, which for one of a recipe is to train it."""
        if isinstance(model, Untrained):
            return model.facts

        def watch(state: TrainState) -> None:
            say(f"train {what}: step {state.step} of {state.steps}")

        train_model(model, self.dataset, watch)
        return {"plan": vars(model.plan), "budget": self._way(model)} | (model.facts or {})

    def _measure(
        self,
        model: Subject,
        cells: list[Cell],
        device: torch.device,
        say: Callable[..., None],
        what: str,
    ) -> None:
        """Fill the cells of a model that are missing."""
        field, shown = model.field().to(device).eval(), model.seed == self.config.seeds[0]
        if shown or isinstance(model, Model):
            self.models[model.key] |= describe(field) | portray(model, self.dataset, shown)
        for cell in cells:
            self._fill(field, [cell], say)
            self.cells.append(self._read(cell))
            say(f"{what}: {cell.label}, {cell.allowance}", 1)

    def _fill(self, field: Field, cells: list[Cell], say: Callable[..., None]) -> None:
        """Compute the cells of a field that are missing."""
        for cell in cells:
            if self._path(cell).exists():
                continue
            say(f"{self._called(cell.model)}: {cell.label}, {cell.allowance}")
            figures, x = run_cell(cell, field, self.panel, self.dataset, self.config.labels)
            shown = x is not None and cell.model.seed == self.config.seeds[0]
            picture = thumbnail(x, self._seen) if shown and x is not None else None
            write_cell(self._path(cell), figures, picture)

    @property
    def _seen(self) -> Tensor:
        """Training points whose extent pictures show."""
        return self.dataset.train[some_rows(len(self.dataset.train), VIEWED)]

    def _way(self, model: Model) -> str:
        """Whether a field was trained as the others are."""
        plan = model.plan
        changed = self.config.options.get(plan.field, {}).keys() & alike(
            plan.options, plan.training
        )
        return "its own" if keeps_own(plan.field) or changed else "shared"

    def _path(self, cell: Cell) -> Path:
        return cell.path(self.out, self.panel.describe())

    def _read(self, cell: Cell) -> dict[str, Any]:
        path = self._path(cell)
        picture = path.with_suffix(".png")
        shown = picture.relative_to(self.out).as_posix() if picture.exists() else None
        return read_part(path, CellFigures, **cell.place, picture=shown)

    def _floor(self) -> dict[str, Any]:
        """What the data set is measured against, and what real data score: kept once known."""
        about = self.panel.describe()
        path = (
            self.out
            / "floors"
            / f"{file_word(Path(self.name).stem)}-{key_of([FORMAT, about])}.json"
        )
        if not path.exists():
            floor = {"about": about} | split(self.panel.floor, "floor")
            rows = some_rows(len(self.dataset.test), SHOWN, self.dataset.test_labels)
            tiles = thumbnail(self.dataset.test[rows], self._seen)
            canvas.write(tiles, path.with_suffix(".png"))
            write_part(path, floor)
        picture = path.with_suffix(".png").relative_to(self.out).as_posix()
        return read_part(path, Reference, headline=self.panel.headline, picture=picture)
