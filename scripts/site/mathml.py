"""Formulas become MathML, which browsers show without a script, a font or a network."""

import html
import re
import unicodedata
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
_BESIDE = re.compile(
    r'([(\[\uff08\u300a\u201c]*)(<span class="math(?: wide)?">(?:(?!</span>).)*</span>)'
    r"([,.;:?!)\]\u3001\u3002\u300b\u201d\uff01\uff09\uff0c\uff1a\uff1b\uff1f]*)"
)  # a formula with the brackets and stops, in both languages, that stay with it in a line
_SPACE = "http://www.w3.org/1998/Math/MathML"
_PARTS = {"mfrac": 2, "mover": 2, "msub": 2, "msubsup": 3, "msup": 2, "munder": 2, "munderover": 3}
_ACCENTS = {
    "\u02d9",
    "\u00a8",
    "^",
    "~",
    "\u00af",
    "\u2192",
}  # dot, two dots, hat, tilde, bar, arrow
_WIDE = 22  # signs of a formula in a line, beyond which it may be wider than a phone
_BARS = {"|", "\u2016"}  # around a norm
_STYLES = {
    "bold": "BOLD",
    "bold-italic": "BOLD ITALIC",
    "double-struck": "DOUBLE-STRUCK",
    "script": "SCRIPT",
}
_PRIMES = {"\u2032", "\u2033", "\u2034", "\u2057"}
_BELOW = {"argmax", "argmin", "inf", "lim", "max", "min", "sup"}  # names with limits below

ElementTree.register_namespace("", _SPACE)


def convert_site(site: Path) -> tuple[int, list[str]]:
    """Convert the pages of a folder; how many formulas there are, and what is wrong with some."""
    count, problems = 0, []
    for page in sorted(site.rglob("*.html")):
        text, made, wrong = convert_page(page.read_text(encoding="utf-8"))
        count += made
        problems += [f"{page.relative_to(site)}: {line}" for line in wrong]
        if made:
            page.write_text(text, encoding="utf-8")
    return count, problems


def convert_page(text: str) -> tuple[str, int, list[str]]:
    """The text of a page with MathML, the number of formulas, and what is wrong with some."""
    problems: list[str] = []

    def shown(match: re.Match[str]) -> str:
        formula = html.unescape(match[2]).strip()
        try:
            made = mathml(formula[2:-2].strip(), block=formula.startswith("\\["))
        except ValueError as error:
            problems.append(str(error))
            return match[0]
        wide = match[1] == "span" and len(re.findall("</m[ion]>|</mtext>", made)) > _WIDE
        return f'<{match[1]} class="math{" wide" * wide}">{made}</{match[1]}>'

    text, count = _FORMULA.subn(shown, text)
    return _BESIDE.sub(_kept, text), count, problems


def _kept(match: re.Match[str]) -> str:
    return f'<span class="kept">{match[0]}</span>' if match[1] or match[3] else match[0]


def mathml(formula: str, block: bool = False) -> str:
    r"""A formula of LaTeX as MathML, with what browsers do not know said as they know it.

    Raises:
        ValueError: it cannot be read, or has a command that would be shown as it is written.
    """
    plain = re.sub(r"\{aligned\}", "{align*}", formula)
    try:
        made = convert(plain, display="block" if block else "inline")
        made = re.sub(r"<mi>(&#x000\w\w;)</mi>", r'<mi mathvariant="normal">\1</mi>', made)
        tree = ElementTree.fromstring(made)
    except Exception as error:  # of many kinds, without a common one
        kind = type(error).__name__
        raise ValueError(f"a formula cannot be read: {formula} ({kind})") from error
    for element in tree.iter():
        name = _name(element)
        if "\\" in (element.text or ""):
            raise ValueError(f"a formula has {element.text}, which is not known: {formula}")
        if len(element) != _PARTS.get(name, len(element)):
            raise ValueError(f"a formula lacks a part: {formula}")
        _mend(element, name)
    for element in [*tree.iter()]:
        _join(element)
    return ElementTree.tostring(tree, encoding="unicode")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _mend(element: ElementTree.Element, name: str) -> None:
    """Say an element as browsers know it: they read few of the attributes of older MathML."""
    text = element.text or ""
    if name == "mi" and (style := element.get("mathvariant", "")) in _STYLES:
        element.text = "".join(_styled(letter, style) for letter in text)
        del element.attrib["mathvariant"]
    elif name == "mi" and "\u0391" <= text <= "\u03a9":  # capital Greek letters are upright
        element.set("mathvariant", "normal")
    elif name == "mi" and text in ("\u27e8", "\u27e9"):
        element.tag = f"{{{_SPACE}}}mo"
        element.set("stretchy", "false")
    elif name == "mo" and text.isalpha() and text.isascii() and text not in _BELOW:
        element.tag = f"{{{_SPACE}}}mi"
        if len(text) == 1:
            element.set("mathvariant", "normal")
    elif name == "mo" and text in _BARS and element.get("fence") != "true":
        element.set("stretchy", "false")
        if text == "|":
            element.set("lspace", "0")
            element.set("rspace", "0")
    elif name == "mspace" and element.get("width") == "negativethinmathspace":
        element.set("width", "-0.167em")
    elif name == "mover" and element[1].text in _ACCENTS:
        element.set("accent", "true")
        element[1].attrib.pop("stretchy", None)
        element[1].set("stretchy", "true" if len(list(element[0].iter())) > 2 else "false")
    elif name == "mtd" and (side := element.attrib.pop("columnalign", "")):
        element.set("style", f"text-align: {side}")
    elif name == "mtable" and element.get("columnspacing", "").startswith("0em"):
        element.set("class", "aligned")
    elif name == "msub" and (element[0].text or "") in _BELOW:
        element.tag = f"{{{_SPACE}}}munder"
        element[0].set("movablelimits", "true")
    elif name in ("msup", "msubsup"):
        _unraise(element)


def _unraise(element: ElementTree.Element) -> None:
    """Primes stand beside their letter: fonts raise them, and would be asked to do it twice."""
    above = [*element[-1]] if _name(element[-1]) == "mrow" else [element[-1]]
    primes = [*takewhile(lambda part: part.text in _PRIMES, above)]
    if not primes:
        return
    base = [*element[:-1]] if len(element) == 2 else [_made("msub", *element[:-1])]
    if rest := above[len(primes) :]:
        element[:] = [_made("mrow", *base, *primes), _made("mrow", *rest)]
        element.tag = f"{{{_SPACE}}}msup"
    else:
        element[:] = [*base, *primes]
        element.tag = f"{{{_SPACE}}}mrow"


def _made(name: str, *parts: ElementTree.Element) -> ElementTree.Element:
    element = ElementTree.Element(f"{{{_SPACE}}}{name}")
    element.extend(parts)
    return element


def _styled(letter: str, style: str) -> str:
    """A letter in a style: a sign of its own, as browsers know no styles of letters."""
    name = unicodedata.name(letter, "").replace("GREEK ", "").replace("LATIN ", "")
    name = name.replace("CAPITAL LETTER", "CAPITAL").replace("SMALL LETTER", "SMALL")
    for whole in (f"MATHEMATICAL {_STYLES[style]} {name}", f"{_STYLES[style]} {name}"):
        try:
            return unicodedata.lookup(whole)
        except KeyError:  # the second name is of letters that are older than the others
            continue
    return letter


def _join(row: ElementTree.Element) -> None:
    """Letters of a word are one word; a name as log stands apart from what follows."""
    made: list[ElementTree.Element] = []
    for element in row:
        upright = _is_upright(element) and _name(row) in ("mrow", "mtd", "math")
        if upright and made and _is_upright(made[-1]):
            made[-1].text = (made[-1].text or "") + (element.text or "")
        else:
            made.append(element)
    if _name(row) not in _PARTS:
        row[:] = []
        for k, element in enumerate(made):
            row.append(element)
            follows = made[k + 1] if k + 1 < len(made) else None
            if _is_function(element) and follows is not None and _name(follows) != "mo":
                row.append(ElementTree.Element(f"{{{_SPACE}}}mspace", width="0.167em"))


def _is_upright(element: ElementTree.Element) -> bool:
    return element.get("mathvariant") == "normal" and (element.text or "").isascii()


def _is_function(element: ElementTree.Element) -> bool:
    """Whether an element is a name of several letters, perhaps with an index or a power."""
    while _name(element) in ("msub", "msup", "msubsup", "munder") and len(element):
        element = element[0]
    text = element.text or ""
    return _name(element) in ("mi", "mo") and len(text) > 1 and text.isascii() and text.isalpha()
