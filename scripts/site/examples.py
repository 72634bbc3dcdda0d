"""The gallery: each example with what it shows, its command, its picture and its code."""

import ast
import shutil
import textwrap
from pathlib import Path

from scripts.site import ROOT
from scripts.site.equations import written
from scripts.site.writing import page

ABOUT = """Each example is a file that runs as it is, in seconds to minutes, and draws a picture.
`--steps` makes it shorter or longer. To run all of them:

    for file in examples/*.py; do python $file --out build/examples; done"""


def gallery(pictures: Path, pages: Path) -> str:
    """The page of all examples; their pictures are copied to where it shows them."""
    files = sorted((ROOT / "examples").glob("*.py"))
    return page("Gallery of examples", ABOUT, *(_example(file, pictures, pages) for file in files))


def _example(file: Path, pictures: Path, pages: Path) -> str:
    source = file.read_text(encoding="utf-8")
    title, _, about = (ast.get_docstring(ast.parse(source)) or file.stem).partition("\n\n")
    blocks = [f"## {written(title).removesuffix('.')}", written(about)]
    blocks.append(f"    python examples/{file.name}")
    for picture in sorted(pictures.glob("*.png")):
        if picture.stem.replace("-", "_") == file.stem:
            (pages / "gallery").mkdir(exist_ok=True)
            shutil.copyfile(picture, pages / "gallery" / picture.name)
            blocks.append(f"![{' '.join(written(title).split())}](gallery/{picture.name})")
    code = textwrap.indent(f"```python\n{source}```", "    ", lambda line: True)
    blocks.append(f'??? note "The file"\n\n{code}')
    return "\n\n".join(blocks)
