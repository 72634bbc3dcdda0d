"""The model card beside an exported pipeline, README.md."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

import yaml

from diffode import __version__, code
from diffode.files import read_json, write_text
from diffode.inputs import brief
from diffode.markup import words
from diffode.recipes import find
from diffode.runs.targets import Target
from diffode.training import checkpoint

_CARD = Template("""---
$metadata
---

# $title

$about

![samples](samples.png)

## Sample

```python
from diffusers import DiffusionPipeline
$imports
pipe = DiffusionPipeline.from_pretrained($folder)
images = pipe(batch_size=16, num_inference_steps=50).images
```

$advice

## Trained

* Recipe: $recipe ($reference), $steps steps, with diffode $version.
* Data: $data.
* Units: $units.
$labels
```json
$options
```

## Quality

$quality

## License

To be filled in, here and in the line `license` above: of the weights, and what the data allow.
""")


def write_card(path: Path, target: Target, folder: str, plain: bool, flow: bool) -> None:
    """Write the card of an exported run.

    Arguments:
        path: of the file.
        target: the run.
        folder: what the folder is called.
        plain: whether diffusers samples it without diffode.
        flow: whether its scheduler is that of flow matching.
    """
    assert target.checkpoint is not None
    header, stats = checkpoint.peek(target.checkpoint)
    recipe, plan = find(header["recipe"]), target.plan
    tags = ["diffusers", "diffode", recipe.name]
    metadata = {
        "license": None,
        "library_name": "diffusers",
        "pipeline_tag": "unconditional-image-generation",
        "tags": tags,
    }
    data = "not stated" if plan is None else Path(code.short(plan.data)).name
    write_text(
        path,
        _CARD.substitute(
            metadata=yaml.safe_dump(metadata, sort_keys=False).strip(),
            title=words(target.called),
            about=words(f"{recipe.about}; images {'x'.join(map(str, target.field.event_shape))}."),
            imports="" if plain else "import diffode.interop  # pip install diffode\n",
            folder=json.dumps(folder),
            advice=_advice(plain, flow),
            recipe=recipe.name,
            reference=words(recipe.reference),
            steps=f"{header['step']:,}",
            version=__version__,
            data=words(brief(f"{data}, {stats.count:,} images", 200)),
            units=words(
                "pixels as they were given, in [-1, 1]"
                if target.field.scaling is None
                else str(target.field.scaling)
            ),
            labels=_labels(header["classes"]),
            options=json.dumps(header["options"], indent=2),
            quality=_quality(target),
        ),
    )


def _advice(plain: bool, flow: bool) -> str:
    said = ["It needs diffusers alone." if plain else "It needs diffusers and diffode."]
    if flow:
        said.append("`DDPMPipeline` takes 1,000 steps where none are stated: state them.")
    else:
        said.append("Take a number of steps that divides the chain's length, as 10, 20 or 50.")
    return " ".join(said)


def _labels(classes: int | None) -> str:
    if classes is None:
        return ""
    return (
        f"* Labels: {classes}. The pipeline passes none and draws of all classes; in a loop of "
        "your own pass `pipe.unet(x, t, class_labels=y)`.\n"
    )


def _quality(target: Target) -> str:
    """The figures that the run's training left, beside those of real data."""
    path = None if target.folder is None else target.folder / "quality.json"
    if path is None or not path.exists():
        return "Not measured; `diffode eval RUN` does."
    found = read_json(path)
    rows = ["| | samples | real data |", "|---|---|---|"]
    for name, figure in found.get("metrics", {}).items():
        real = found.get("floor", {}).get(name)
        rows.append(f"| {words(name)} | {_figure(figure)} | {_figure(real)} |")
    how = words(f"By {found.get('solver')}, {found.get('nfe')} evaluations each, in diffode.")
    return "\n".join([*rows, "", how])


def _figure(of: Any) -> str:  # noqa: ANN401
    if not isinstance(of, dict) or not isinstance(of.get("value"), float | int):
        return ""
    error = of.get("stderr")
    return f"{of['value']:.4g}" + (f" +- {error:.2g}" if isinstance(error, float) else "")
