"""The classes that a command draws, by ``--label``, ``--per-class`` and ``--samples``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffode.doors import needs_labels
from diffode.inputs import brief, quoted
from diffode.runs.targets import Target

SAMPLES, PER_CLASS = 64, 10  # drawn where no number is given: of one class or any, of each of some


def _usual(labels: int) -> int:
    return SAMPLES if labels == 1 else PER_CLASS


def classes_to_draw(
    label: str | None,
    per_class: int | None,
    n: int | None,
    target: Target,
    usual: Callable[[int], int] = _usual,
) -> tuple[int, Tensor | None]:
    """How many samples are asked for, and their labels (n,), class after class, or None.

    Arguments:
        label: what ``--label`` says: a number or a name, several with commas, or "all".
        per_class: how many of each; without ``label`` of all classes.
        n: how many in all.
        target: whose classes they are.
        usual: how many of each of so many classes are drawn where no number is given.

    Raises:
        ValueError: a label that there is not, or numbers that contradict each other.
    """
    if label is None and per_class is None:
        return SAMPLES if n is None else n, None
    option = "--per-class" if label is None else f"--label {brief(label, 80)}"
    labels = _labels(label, option, target)
    each = per_class or (usual(len(labels)) if n is None else _each(n, len(labels), option))
    count = each * len(labels)
    if n not in (None, count):
        raise ValueError(
            f"got --samples {n} and --per-class {each} of {len(labels)} labels, which are {count} "
            "samples; leave one of the two away"
        )
    return count, torch.tensor(labels).repeat_interleave(each)


def named_labels(label: str, target: Target, option: str = "--label") -> list[int]:
    """The labels that an option names: a number or a name, several with commas, or "all".

    Raises:
        ValueError: a label that there is not, or one that is named twice.
    """
    return _labels(label, f"{option} {brief(label, 80)}", target)


def _each(n: int, labels: int, option: str) -> int:
    """How many samples of each label make n in all."""
    if n % labels:
        raise ValueError(
            f"got --samples {n} and {option}, which are {labels} labels; wanted a multiple of "
            f"{labels}, or --per-class"
        )
    return n // labels


def _labels(text: str | None, option: str, target: Target) -> list[int]:
    """The labels that a text names, each once; a class's own name comes before all else.

    None stands for all of them, even where a class is called "all".
    """
    classes, names = target.classes, target.class_names
    told = target.checkpoint is None or needs_labels(target.field)  # it may know some unstated
    if classes is None and (target.field.unconditional or not told):
        raise ValueError(
            f"got {option}, but this field knows no labels, as one that was trained without or is "
            "guided with weight 0; leave it out, or train with --labels"
        )
    if text is None or (text == "all" and text not in names):
        if classes is None:
            raise ValueError(
                f"got {option}, but {target.name} does not say how many labels it has; give their "
                "numbers"
            )
        return list(range(classes))
    parts = [text] if text in names else [part.strip() for part in text.split(",")]
    found = [_label(part, option, classes, names) for part in parts]
    if twice := [label for label in found if found.count(label) > 1]:
        raise ValueError(f"got {option}, which names label {twice[0]} twice; give each once")
    return found


def _label(text: str, option: str, classes: int | None, names: Sequence[str]) -> int:
    if text in names:
        return names.index(text)
    number = int(text) if text.removeprefix("-").isdecimal() and len(text) < 10 else None
    if number is not None and (classes is None or 0 <= number < classes):
        return number
    known = f"labels 0 to {classes - 1}" if classes is not None else "labels 0, 1, ..."
    named = f", named {brief(', '.join(map(quoted, names)), 200)}" if names else ""
    which = "" if option.endswith(f" {text}") else f" with {quoted(text)}"
    raise ValueError(f"got {option}{which}; this field has {known}{named}")
