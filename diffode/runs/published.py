"""What others publish, as a TARGET: a pipeline of diffusers, or a checkpoint of EDM or PFGM++."""

from __future__ import annotations

from pathlib import Path

from diffode.fields.affine import AffineField
from diffode.inputs import parse_json, read_text
from diffode.interop.edm import from_edm, is_edm
from diffode.interop.folders import HUB, INDEX, is_pipeline
from diffode.interop.pipelines import from_diffusers
from diffode.runs.plan import CONFIG
from diffode.training import checkpoint


def published(
    target: str | Path, weights: str = "ema", null_label: int | None = None
) -> AffineField | None:
    """The field of what others publish; None where a TARGET is nothing of the kind.

    Arguments:
        target: a path, or ``hf:owner/name``.
        weights: "ema" is what was published; there are no others.
        null_label: the label that stands for none, of a pipeline that takes labels.

    Raises:
        ValueError: other weights, a null label for what is no pipeline, a folder that is a run
            too, or as `diffode.interop.from_diffusers` and `diffode.interop.from_edm`.
    """
    path = Path(target)
    pipeline = is_pipeline(path) or str(target).startswith(HUB)
    if null_label is not None and not pipeline:
        raise ValueError(
            f"got the null label {null_label} for {target}, which is no pipeline of diffusers; "
            "leave --null-label away"
        )
    if is_pipeline(path) and (also := _also(path)):
        raise ValueError(
            f"{target} holds a pipeline of diffusers ({INDEX}) and {also}; move one of the two "
            "away"
        )
    edm = not pipeline and path.exists() and is_edm(path)
    if not (pipeline or edm):
        return None
    if weights != "ema":
        raise ValueError(
            f"got --weights {weights} for {target}, which was published with one set of weights; "
            "leave the option away"
        )
    return from_edm(path) if edm else from_diffusers(target, null_label)


def _also(folder: Path) -> str:
    """What a pipeline's folder holds of something else; empty where it does not."""
    config = folder / CONFIG
    known = parse_json(read_text(config)) if config.is_file() else None
    if isinstance(known, dict) and {"field", "training"} <= known.keys():
        return f"a run ({CONFIG})"
    if (file := checkpoint.newest(folder)) is not None:
        return f"a run ({file.relative_to(folder)})"
    return "a checkpoint of EDM" if is_edm(folder) else ""
