r"""Docstrings write formulas as :math:`x` and ``.. math::``; the site writes them as pages do."""

import re
import textwrap

import griffe

_INLINE = re.compile(r":math:`([^`]+)`")
_BLOCK = re.compile(r"^([ ]*)\.\. math::(.*(?:\n(?:\1[ ]+\S.*|[ ]*(?=\n)))*)", re.MULTILINE)

_SECTION = re.compile(r"^(?:Arguments|Attributes):\n((?:[ ]+.*(?:\n|$))+)", re.MULTILINE)
_TOGETHER = re.compile(r"^    (\w+(?:, \w+)+)(: .*(?:\n     +.*)*)", re.MULTILINE)


def written(text: str) -> str:
    """A docstring with its formulas and its code between the signs that Markdown knows."""
    text = _SECTION.sub(lambda match: _TOGETHER.sub(_apart, match[0]), text)
    text = _BLOCK.sub(_block, text)
    text = _INLINE.sub(lambda match: f"${' '.join(match[1].split())}$", text)
    return text.replace("``", "`")


def _apart(match: re.Match[str]) -> str:
    """Names that share what is said of them, each with it: the site lists them one by one."""
    return "\n".join(f"    {name}{match[2]}" for name in match[1].split(", "))


def _block(match: re.Match[str]) -> str:
    formula = textwrap.dedent(match[2]).strip()
    return textwrap.indent(f"\n$$\n{formula}\n$$\n", match[1], lambda line: True)


class Equations(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite one."""
        if obj.docstring:
            obj.docstring.value = written(obj.docstring.value)
