"""Guidance as commands ask for it: looked at, told in words, and put around a field.

The options stand once, in `diffode.cli.shared`, and a command calls `guidance_of` with them. A
new kind of guidance is a further attribute of `Guidance`, and a line in its ``field``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from diffode import admission
from diffode.data.fingerprint import Fingerprint
from diffode.doors import needs_labels
from diffode.fields import AffineField, Field, Wrapped, classifier_free, classifier_guided
from diffode.fields.classified import classifier_of
from diffode.fields.guidance import as_weight, require_affine
from diffode.fields.intervals import as_interval
from diffode.fields.strength import in_words
from diffode.runs.keys import key_of_values
from diffode.runs.targets import Target, resolve

Given = Callable[[AffineField], AffineField]  # what gives a field an observation


@dataclass(frozen=True)
class Guidance:
    """How a field is guided, see `diffode.fields.classifier_free`.

    Attributes:
        weight: w.
        interval: the noise levels sigma / alpha between which it is on; None is everywhere.
        weak: the weaker TARGET that it leads away from; None is the field without a label.
        classifier: the TARGET whose classifier guides a field without labels, see
            `diffode.fields.classifier_guided`.

    Raises:
        ValueError: a weight or an interval that are no numbers to use, or both a weaker field and
            a classifier.
    """

    weight: float
    interval: tuple[float, float] | None = None
    weak: Target | None = None
    classifier: Target | None = None

    def __post_init__(self) -> None:
        as_weight(self.weight)
        as_interval(self.interval)
        if self.weak is not None and self.classifier is not None:
            raise ValueError("got --weak and --classifier; guide by the one or the other")

    def field(
        self,
        field: Field,
        name: str,
        data: Fingerprint | None = None,
        given: Given | None = None,
    ) -> AffineField:
        """The field, guided.

        Arguments:
            field: a trained one, or code's.
            name: of the field, for messages.
            data: what tells the data that it was trained on from others, where that is known.
            given: what gives a field an observation, see `diffode.fields.conditioned`. All fields
                that guidance compares are given it, and guidance is put around them.

        Raises:
            TypeError: a field without E[x_0 | x].
            ValueError: a field that knows no labels or no null label, an interval outside of its
                levels, or a weaker field or a classifier that does not fit it.
        """
        if not isinstance(field, AffineField):
            raise TypeError(
                f"got --guidance, but {name} does not estimate the data from a noisy point "
                "(E[x_0 | x]), which is what guidance changes; gan, morph, the MonoFlows, "
                "interpolants and fields of tokens cannot be guided, all other recipes can"
            )
        guided = self._around(field, name, given)
        for other in self.others:  # what does not fit at all has been refused by its reason
            _require_data("--weak" if other is self.weak else "--classifier", other, name, data)
        return guided

    def _around(self, field: AffineField, name: str, given: Given | None) -> AffineField:
        if self.classifier is not None:
            return self._led(self.classifier, field, given)
        if self.weak is None:
            _require_null(field, name)
            return classifier_free(given(field) if given else field, self.weight, self.interval)
        weak = self.weak.field.to(field.device)
        try:
            require_affine(weak)
            assert isinstance(weak, AffineField)
            guided = classifier_free(field, self.weight, self.interval, weak)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--weak {self.weak.name}: {error}") from None
        if given is None:
            return guided
        return classifier_free(given(field), self.weight, self.interval, given(weak))

    def _led(self, classifier: Target, field: AffineField, given: Given | None) -> AffineField:
        """The field guided by a classifier, which knows nothing of observations itself.

        Given one, it is E + w (E_y - E) with the means of the field and of the class. Outside of
        an interval that would be E_y, and it is E: the weight 0 inside, away from E outside.
        """
        led = _by(classifier, field, self.weight, self.interval)
        if given is None:
            return led
        free, told = (given(_by(classifier, field, w, None)) for w in (0.0, 1.0))
        led = classifier_free(told, self.weight, weak=free)
        return led if self.interval is None else classifier_free(free, 0.0, self.interval, led)

    def of(self, target: Target, given: Given | None = None) -> Target:
        """A TARGET with its field guided; its labels are those that it is guided to.

        Arguments:
            target: the TARGET.
            given: as for `field`.

        Raises:
            TypeError, ValueError: as `field`.
        """
        data = None if target.plan is None else target.plan.fingerprint
        if self.weak is not None:
            _require_other(self.weak, target)
        field = self.field(target.field, target.name, data, given)
        classes = None if field.unconditional else (self.classifier or target).classes
        return replace(target, field=field, classes=classes)

    def require_labels(self, field: Field, advice: str) -> None:
        """Refuse guidance towards labels where there are none.

        Arguments:
            field: the guided one, which is told none.
            advice: what to do.

        Raises:
            ValueError: it is guided to a label.
        """
        if self.weak is None and needs_labels(field):
            raise ValueError(
                f"got --guidance {self.weight:g} without a label to guide to; {advice}"
            )

    def asdict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        weak = None if self.weak is None else self.weak.name
        by = {} if self.classifier is None else {"classifier": self.classifier.name}
        return {"weight": self.weight, "interval": plain(self.interval), "weak": weak, **by}

    @property
    def others(self) -> list[Target]:
        """The weaker TARGET, or that of the classifier, if there is one."""
        return [target for target in (self.weak, self.classifier) if target is not None]

    @property
    def key(self) -> list[Any]:
        """What decides the samples: the numbers and the code of another run included."""
        weak, *by = (
            key_of_values(*target.field.state_dict().values()) if target else None
            for target in (self.weak, *filter(None, [self.classifier]))
        )
        code = (admission.origins(t.plan.named) for t in self.others if t.plan is not None)
        return [self.weight, self.interval, weak, *by, *filter(None, code)]

    def __str__(self) -> str:
        weak, by = (None if t is None else t.name for t in (self.weak, self.classifier))
        return in_words(self.weight, self.interval, weak, by)


def plain(interval: tuple[float, float] | None) -> list[float | str] | None:
    """An interval for JSON, which has no infinity."""
    return interval and [v if math.isfinite(v) else str(v) for v in interval]


def guidance_of(
    weight: float | None,
    interval: tuple[float, float] | None,
    weak: str | None,
    trust: bool = False,
    classifier: str | None = None,
) -> Guidance | None:
    """The guidance that options ask for; None where they ask for none.

    Arguments:
        weight, interval, weak, classifier: what stands behind ``--guidance``, ``--interval``,
            ``--weak``, ``--classifier``.
        trust: whether code that the other run names may be run.

    Raises:
        ValueError: one of the others without a weight, or one that does not fit.
    """
    if weight is not None:
        others = {"weak": weak, "classifier": classifier}
        runs = {k: None if v is None else resolve(v, trust=trust) for k, v in others.items()}
        return Guidance(weight, interval, runs["weak"], runs["classifier"])
    given = {"--interval": interval, "--weak": weak, "--classifier": classifier}
    for option, value in given.items():
        if value is not None:
            raise ValueError(
                f"got {option} without --guidance, which it is for; give --guidance 2, for example"
            )
    return None


def _require_other(weak: Target, target: Target) -> None:
    """Refuse a weaker run that is the run itself, or a classifier.

    Raises:
        ValueError: it is.
    """
    if weak.checkpoint is None or target.checkpoint is None:  # code says what it does by itself
        return
    if weak.plan is not None and weak.plan.field == "classifier":
        raise ValueError(
            f"got --weak {weak.name}, which is a classifier; give it as --classifier {weak.name}, "
            "or a weaker run of the field"
        )
    one, two = (key_of_values(*t.field.state_dict().values()) for t in (weak, target))
    if one == two:
        raise ValueError(
            f"got --weak {weak.name}, which is {target.name} itself, so that guidance changes "
            "nothing; give an earlier checkpoint or a smaller network"
        )


def _require_data(option: str, other: Target, name: str, data: Fingerprint | None) -> None:
    """Refuse another run that was trained on other data, where both are known."""
    own = None if other.plan is None else other.plan.fingerprint
    if own is not None and data is not None and (differs := data.differs(own)):
        raise ValueError(
            f"{option} {other.name} was trained on other data than {name}, which differ in "
            f"{differs}; give a run of the same data"
        )


def _by(
    target: Target, field: AffineField, weight: float, interval: tuple[float, float] | None
) -> AffineField:
    """A field guided by the classifier of a TARGET.

    Raises:
        ValueError: a field that cannot go without labels, or a classifier that does not fit it.
    """
    if needs_labels(field):
        raise ValueError(
            f"got --classifier {target.name} for a field that cannot go without labels; it guides "
            "one that was trained without, or with label_drop above 0"
        )
    try:
        found = classifier_of(target.field.to(field.device))
        return classifier_guided(field, found, weight, interval)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--classifier {target.name}: {error}") from None


def _require_null(field: AffineField, name: str) -> None:
    """Refuse a network that cannot be asked without a label.

    Raises:
        ValueError: one that knows no labels, or no null label.
    """
    done = field.changes() if isinstance(field, Wrapped) else []
    if field.unconditional:
        why = f"knows no label ({', '.join(done)})" if done else "was trained without labels"
        raise ValueError(
            f"got --guidance, but {name} {why}; train it with --labels, or give --weak TARGET, a "
            "weaker field to guide it away from, or --classifier TARGET"
        )
    if needs_labels(field) and done:
        raise ValueError(
            f"got --guidance, but {name} is guided already ({', '.join(done)}); guide the field "
            "that was trained without it"
        )
    if needs_labels(field):
        raise ValueError(
            f"got --guidance, but {name} has no null label to be guided away from, as label_drop "
            "is 0 or a pipeline does not say; train it with label_drop=0.1, say which "
            "label of a pipeline stands for none by --null-label (null_label= in Python), or give "
            "--weak TARGET"
        )
