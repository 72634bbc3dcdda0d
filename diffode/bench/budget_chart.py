"""An error budget as one inline SVG: bars for table (i), a signed waterfall for table (ii).

The ink is the page's own text colour, so that it reads on light and on dark pages alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffode.bench.budget import ErrorBudget
    from diffode.bench.budget_parts import Part

_WIDTH, _LEFT, _RIGHT, _ROW = 520, 168, 430, 26
_DISTANCE, _WORSE, _BETTER = "#2a6fdb", "#d1603d", "#2a9d6f"


def chart(budget: ErrorBudget) -> str:
    """Both tables as an inline SVG."""
    bars, height = _bars(budget, 18)
    fall, total = _waterfall(budget, height + 30)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {total}" role="img" aria-label="error budget" '
        'font-family="system-ui" font-size="13" fill="currentColor">'
        f"{bars}{fall}</svg>"
    )


def _bars(budget: ErrorBudget, y: int) -> tuple[str, int]:
    rows = [*budget.parts, budget.whole]
    top = max(part.rms.value + _half(part.rms.stderr) for part in rows) or 1.0
    scale = (_RIGHT - _LEFT) / top
    drawn = [_title("(i) RMS distance of paired end points", y)]
    for part in rows:
        y += _ROW
        reach, half = part.rms.value * scale, _half(part.rms.stderr) * scale
        drawn += [
            _label(part.name, y),
            _bar(_LEFT, reach, y, _DISTANCE, part is budget.whole),
            _error(_LEFT + reach, half, y),
            _value(f"{part.rms.value:.3g}", _LEFT + reach + half, y),
        ]
    return "".join(drawn), y


def _waterfall(budget: ErrorBudget, y: int) -> tuple[str, int]:
    """From the first stage's distance to the last one's, and the two parts that stand aside."""
    levels = [level.value for level in budget.levels]
    steps: list[tuple[Part, float]] = list(zip(budget.parts, levels, strict=False))
    if budget.trained is not None:
        steps += list(zip(budget.aside, (levels[1], budget.trained.value), strict=True))
    ends = [end for part, start in steps for end in _ends(part, start)]
    low, high = min([*ends, *levels, budget.floor.value]), max([*ends, *levels])
    scale = (_RIGHT - _LEFT) / ((high - low) or 1.0)

    def at(value: float) -> float:
        return _LEFT + (value - low) * scale

    drawn = [_title("(ii) sliced W2 to held-out data, signed: parts may cancel", y)]
    first = y + 8
    for k, (part, start) in enumerate(steps):
        y += _ROW + (10 if k == len(budget.parts) else 0)
        end = start + part.change.value
        colour = _WORSE if part.change.value > 0 else _BETTER
        left, right = sorted((at(start), at(end)))
        half = _half(part.change.stderr) * scale
        drawn += [
            _label(part.name, y),
            _bar(left, max(right - left, 1), y, colour, k >= len(budget.parts)),
            _error(at(end), half, y),
            _value(f"{part.change.value:+.2g}", max(right, at(end) + half), y),
        ]
    floor = at(budget.floor.value)
    drawn.append(
        f'<path d="M{floor:.1f} {first}V{y + 6}" stroke="currentColor" stroke-dasharray="3 3" '
        'opacity=".6"/>'
    )
    y += _ROW
    said = f"real data {levels_text(budget)}"
    drawn.append(f'<text x="{floor:.1f}" y="{y}" text-anchor="middle">{said}</text>')
    return "".join(drawn), y + 12


def levels_text(budget: ErrorBudget) -> str:
    """The floor, and the distances that the waterfall starts and ends at."""
    first, last = budget.levels[0].value, budget.levels[-1].value
    return f"{budget.floor.value:.3g}; from {first:.3g} to {last:.3g}"


def _ends(part: Part, start: float) -> tuple[float, float]:
    half = _half(part.change.stderr)
    end = start + part.change.value
    return end - half, end + half


def _half(stderr: float) -> float:
    return 1.96 * stderr if stderr > 0 else 0.0


def _title(text: str, y: int) -> str:
    return f'<text x="0" y="{y}" font-weight="600">{text}</text>'


def _label(text: str, y: int) -> str:
    return f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{text}</text>'


def _bar(x: float, width: float, y: int, colour: str, pale: bool) -> str:
    shade = ' opacity=".55"' if pale else ""
    return (
        f'<rect x="{x:.1f}" y="{y - 12}" width="{max(width, 1):.1f}" height="15" '
        f'fill="{colour}"{shade}/>'
    )


def _error(x: float, half: float, y: int) -> str:
    return f'<path d="M{x - half:.1f} {y - 4}H{x + half:.1f}" stroke="currentColor"/>'


def _value(text: str, x: float, y: int) -> str:
    return f'<text x="{x + 6:.1f}" y="{y}">{text}</text>'
