r"""Pictures of a field: lines of force, paths, the law in between, and samples, on one page.

A field is a velocity that carries points of a prior to data. The field here is exact: the Poisson
flow of two half-circles, the velocity of the charges themselves, without a network. Each picture
answers another question.

    lines of force   where does a point go from here?
    paths            which way did these points go?
    density          where are points at this noise?
    samples          does it end at the data?

`diffode.viz.plot` draws them of any field: of a run (`diffode.load(...).field`), of a pipeline, or
of a class of your own. `diffode plot` and `diffode animate` do the same on the command line.
"""

import io
from pathlib import Path

import typer
from PIL import Image

from diffode.data import load
from diffode.runs.exact import exact
from diffode.viz import canvas, plot

QUESTIONS = {
    "field-lines": "Where does a point go from here?",
    "paths": "Which way did these points go?",
    "density": "Where are points at this noise?",
    "samples": "Does it end at the data?",
}  # of each kind of picture


def main(out: Path = Path("."), steps: int = 60) -> Path:
    """Write a picture into the folder OUT."""
    moons = load("moons")
    field = exact("poisson", moons)  # the field of a run, load(RUN).field, is drawn as this one
    told = {"data": moons.train, "seed": 1, "moves": {"steps": steps}}
    drawn = {
        kind: plot(field, kind, title=question, samples=400 if kind == "samples" else 120, **told)
        for kind, question in QUESTIONS.items()
    }
    pages = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in drawn.values()]
    sheet = Image.new("RGB", (pages[0].width, sum(page.height for page in pages)))
    for k, page in enumerate(pages):
        sheet.paste(page, (0, sum(above.height for above in pages[:k])))
    canvas.write(canvas.encoded(sheet), path := out / "pictures-of-a-field.png")
    print(f"wrote {path}: {', '.join(drawn)} of {type(field).__name__} on moons")
    return path


if __name__ == "__main__":
    typer.run(main)
