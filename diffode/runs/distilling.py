r"""A run distilled into a flow map: what the student is, and what it learns from.

The student is a run of the recipe flowmap, with the path and the data of the run that is
distilled, its teacher, and its network, which is told one time more. It begins with the teacher's
weights where its output can be read as the teacher's: then it is the teacher's DDIM at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffode import code
from diffode.doors import as_count
from diffode.fields.affine import AffineField
from diffode.fields.learned import Learned
from diffode.fields.poisson import PoissonField
from diffode.files import read_json, write_text
from diffode.nn.base import Network
from diffode.options import options_of
from diffode.recipes import find
from diffode.recipes.compose import make_given
from diffode.runs.keys import key_of, key_of_values
from diffode.runs.paths import Drawing, saved_paths
from diffode.runs.plan import Plan
from diffode.runs.run import Lesson
from diffode.runs.suited import FEW
from diffode.runs.targets import Target
from diffode.training import checkpoint
from diffode.training.flowmaps import MapLearning
from diffode.training.jumps import Teacher
from diffode.training.objective import Objective
from diffode.training.warm import copy_wider

RECORD = "teacher.json"
COUNTS = (1, 2, 4)
FULL = {"pairs": 0.8, "lagrangian": 0.3, "progressive": 0.4}  # of jumps, for 1 evaluation
_POINTS = {"steps": 1400, "batch": 512, "lr": 6e-3}
_LARGER = {"steps": 500, "batch": 256, "lr": 1e-3, "ema": 0.998}
_APART = 1_000_000_007  # the paths' seed is so far from the student's: its samples are no paths


@dataclass(frozen=True)
class Distillation:
    """A run and how it is distilled.

    Attributes:
        teacher: the run.
        field: the field that is distilled: the run's, or guided.
        guidance: what decides how it is guided, as JSON can hold it; None for not at all.
        from_data: whether the student has the run's weights to begin with, and learns the
            velocity of data and noise.
    """

    teacher: Target
    field: AffineField
    guidance: object = None
    from_data: bool = False

    @classmethod
    def of(
        cls, teacher: Target, guided: Target | None = None, guidance: object = None
    ) -> Distillation:
        """The distillation of a run.

        Raises:
            ValueError: no run, or one without a path of data and noise.
        """
        plan, field = teacher.plan, teacher.field
        if plan is None or teacher.checkpoint is None:
            raise ValueError(
                f"got {teacher.name}, which is no run; diffode distil takes a run that diffode "
                "train wrote"
            )
        if plan.field == "flowmap":
            raise ValueError(f"{teacher.name} is a flow map already; distil the run it is made of")
        inner = field.inner if isinstance(field, PoissonField) else field
        if type(inner) is not Learned or code.place(plan.field) is not None:
            raise ValueError(
                f"{teacher.name} is a run of {code.short(plan.field)}, which is no path "
                "x_t = alpha x_0 + sigma n with one network; flow maps are made of edm, vp, "
                "rectified, poisson and their like"
            )
        if guided is not None:
            field = guided.field
        assert isinstance(field, AffineField)
        return cls(teacher, field, guidance)

    @property
    def learned(self) -> Learned:
        """The field of the teacher's network."""
        field = self.teacher.field
        inner = field.inner if isinstance(field, PoissonField) else field
        assert isinstance(inner, Learned)
        return inner

    @property
    def key(self) -> str:
        """What tells this teacher from others: its values, and how it is guided."""
        own = key_of_values(*self.teacher.field.state_dict().values())
        beside = [*filter(None, [self.guidance, self.from_data])]
        return key_of([own, *beside]) if beside else own

    def plan(self, nfe: int, objective: str, seed: int, options: Mapping[str, Any]) -> Plan:
        """The plan of the student.

        Arguments:
            nfe: the evaluations that it is for.
            objective: pairs, lagrangian or progressive.
            seed: of the training.
            options: of the recipe flowmap and the trainer, where they are not the usual ones.

        Raises:
            ValueError: a number of evaluations, an objective or an option that there is not.
        """
        if nfe not in COUNTS:
            raise ValueError(f"got --nfe {nfe}; a flow map is made for 1, 2 or 4 evaluations")
        if self.from_data and (objective == "pairs" or self.guidance is not None):
            raise ValueError(
                "got --from-data for --objective pairs, which follows the run itself, or for a "
                "guided run; it goes with the other objectives, without guidance"
            )
        taught = self.teacher.plan
        assert taught is not None
        recipe = find(taught.field)
        stated = {k: taught.options[k] for k in options_of(recipe.function).model_fields}
        if self.from_data and "coupling" in stated:
            stated["coupling"] = "independent"  # as its pairs of data and noise are
        given = {k: taught.options[k] for k in options_of(make_given).model_fields}
        if self.guidance is not None:
            given["label_drop"] = 0.0  # it is guided to a label, and so always told one
        full = FULL.get(objective, 0.25) if nfe == 1 else 0.25
        prediction = self.learned.prediction
        warm = isinstance(self.learned.network, Network) and not prediction.extra
        warm &= objective != "meanflow"  # whose derivative in s would be that of log(rho)
        few = math.prod(self.learned.event_shape) < FEW
        own: dict[str, Any] = {
            "objective": objective,
            "of": recipe.name,
            "settings": json.dumps(stated, sort_keys=True),
            "warm": warm,
            "evaluations": nfe,
            "full": full,
        }
        every = {**given, **own, **(_POINTS if few else _LARGER), **options}
        source = taught.source or taught.data
        plan = Plan.make(
            "flowmap", source, labels=taught.labels, seed=seed, reading=taught.reading, **every
        )
        return replace(plan, data=taught.data, fingerprint=taught.fingerprint)

    def lesson(
        self, plan: Plan, drawing: Drawing | None, progress: Callable[[int], None]
    ) -> Lesson:
        """What the student learns from; its paths are drawn, or read where they are there."""
        assert self.teacher.checkpoint is not None
        _, stats = checkpoint.peek(self.teacher.checkpoint)
        paths, angles = (
            (None, None) if drawing is None else saved_paths(self.field, drawing, progress)
        )

        def prepare(objective: Objective) -> None:
            assert isinstance(objective, MapLearning)
            if plan.options["warm"]:
                copy_wider(self.learned.network, objective.map.network)
            if not self.from_data:
                objective.follow(Teacher(self.field, angles))

        return Lesson(stats, prepare, paths)

    def drawing(self, folder: Path, plan: Plan) -> Drawing:
        """Which paths the student learns, as `record` noted it, and where they are."""
        known = read_json(folder / RECORD)
        try:
            count, spent = as_count(known["pairs"], "pairs", 2), as_count(known["nfe"], "nfe", 2)
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{folder / RECORD} is damaged; delete the folder and distil anew"
            ) from None
        labels = self.teacher.dataset().labels(count) if plan.labels else None
        untold = float(plan.options["label_drop"]) if plan.labels else 0.0
        seed = (plan.seed + _APART) % 2**64
        return Drawing(folder / "paths", self.key, count, spent, seed, labels, untold)

    def record(self, folder: Path, pairs: int | None = None, nfe: int | None = None) -> None:
        """Write what is distilled into the run directory.

        Arguments:
            folder: the run directory.
            pairs, nfe: how many paths, and the evaluations of each; None is the usual.
        """
        few = math.prod(self.learned.event_shape) < FEW
        about = {
            "teacher": self.teacher.name,
            "key": self.key,
            "guidance": self.guidance,
            "pairs": pairs or (16384 if few else 8192),
            "nfe": nfe or (32 if few else 12),
        }
        text = json.dumps(about, indent=2, default=str) + "\n"
        if (folder / RECORD).exists():
            self.require_same(folder)
            known = read_json(folder / RECORD)
            for name in ("pairs", "nfe"):
                if known.get(name) != about[name]:
                    raise ValueError(
                        f"{folder} was begun with {name} {known.get(name)!s:.20}, not "
                        f"{about[name]}; go on with that, or give another --out"
                    )
        write_text(folder / RECORD, text)

    def require_same(self, folder: Path) -> None:
        """Refuse to go on with another teacher than a run was begun with.

        Raises:
            ValueError: another one, or no run of `diffode distil` there.
        """
        if not (folder / RECORD).exists():
            raise ValueError(f"{folder} is no run of diffode distil; give the folder of its --out")
        known = read_json(folder / RECORD)
        if known.get("key") != self.key:
            raise ValueError(
                f"{folder} was distilled from another field, {known.get('teacher')!s:.80}; give "
                "the run and the guidance that it was begun with"
            )
