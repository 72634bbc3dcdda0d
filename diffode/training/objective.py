"""What is trained: a field, the phases of a step, and the loss of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from diffode.data.stats import Stats
from diffode.doors import unwritten
from diffode.fields.base import Field
from diffode.fields.starting import StartingPoints
from diffode.rng import Rng
from diffode.training.batches import Batch


@dataclass(frozen=True)
class Phase:
    """A part of a training step: which parameters move, how often, and how.

    Attributes:
        name: what `Objective.forward` is told.
        params: the parameters that this phase's optimiser owns.
        repeat: updates of this phase in one step.
        optimiser: makes the optimiser from the parameters; None is the trainer's AdamW.
        schedule: the factor of the learning rate at (step, steps); None is the trainer's.
        betas: of the trainer's AdamW.
    """

    name: str
    params: Iterable[nn.Parameter]
    repeat: int = 1
    optimiser: Callable[[list[nn.Parameter]], Optimizer] | None = None
    schedule: Callable[[int, int], float] | None = None
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Spec:
    """What rebuilds an objective: the recipe's name and its arguments.

    Attributes:
        recipe, shape, classes, options: the arguments of `diffode.build`, complete.
        defaults: of the options, for checkpoints from before an option was there.
        chosen: the options that were left open, whose values the network chose.
        code: where a recipe or network that is not diffode's own comes from.
    """

    recipe: str
    shape: tuple[int, ...]
    classes: int | None
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]
    chosen: tuple[str, ...] = ()
    code: Mapping[str, str] = default(default_factory=dict)


class Objective(nn.Module):
    """A field with a loss. To write your own, write ``forward``; the rest has defaults.

    Attributes:
        field: what is learned, and sampled afterwards.
        spec: how `diffode.build` made it; None if it was put together by hand.
        stats: the data's statistics that it was built with.
        coupling: how samples and noise are paired (`diffode.training.coupling`): "independent",
            "pairs" where the data bring the noise of each sample, or by `couple`.
        comparable: whether less loss on the same samples and noise means better weights, whatever
            the step: so it is for a regression on what the data alone decide, and not where a
            network chooses its own target or plays against another. ``keep_best`` asks for it.
        resolved: what `diffode.build` chose where options left it open, and the networks it made.
    """

    spec: Spec | None = None
    stats: Stats | None = None
    coupling: str = "independent"
    comparable: bool = False

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.resolved: Mapping[str, Any] = {}

    def begin(self, steps: int) -> None:
        """What there is to plan before the first of this many steps: nothing by default."""
        return None

    def phases(self) -> list[Phase]:
        """The phases of a step, in order: one that moves all parameters."""
        return [Phase("field", self.parameters())]

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a phase, the mean over the rows of a batch, and numbers to log.

        The trainer calls it as ``objective(phase, batch, rng)``, so that a distributed wrapper's
        hooks fire: there is no other path to the loss. With ``accumulate``, and in each of several
        processes, the batch is a piece of the global one.

        Arguments:
            phase: the name of the phase.
            batch: samples x of shape (B, *event), and labels y of shape (B,) or None.
            rng: all randomness; row i of a draw belongs to row i of the batch.
        """
        raise unwritten(self, "forward")

    def couple(self, batch: Batch, rng: Rng) -> tuple[Batch, dict[str, Tensor]]:
        """The global batch of an update with its rows paired, and numbers to log.

        It is called where ``coupling`` is neither "independent" nor "pairs", once for an update,
        before the rows are shared out.

        Arguments:
            batch: all rows of it.
            rng: of these rows.
        """
        raise unwritten(self, "couple")

    def advance(self, step: int, rng: Rng) -> None:
        """What happens after a step, outside of gradients: nothing by default."""
        return None

    @property
    def starting(self) -> StartingPoints | None:
        """The points that its flow starts from, where they are data; a checkpoint keeps them."""
        points: StartingPoints | None = getattr(self.field, "starting", None)
        return points

    @property
    def averaged(self) -> nn.Module | None:
        """What the trainer's moving average covers."""
        return self.field

    def extra_state(self) -> dict[str, Tensor]:
        """Tensors beside the parameters that a resumed run needs."""
        return {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `extra_state` gave."""
        return None


class Withdrawn(Objective):
    """A field that can be loaded and sampled, but is not trained any more.

    Arguments:
        field: what an earlier version trained.
        reason: what to say to who wants to train it.
    """

    def __init__(self, field: Field, reason: str) -> None:
        super().__init__(field)
        self.reason = reason

    def phases(self) -> list[Phase]:
        """None: training is refused.

        Raises:
            ValueError: always, with the reason.
        """
        raise ValueError(self.reason)
