"""Error budgets as one picture, an SVG without script."""

from __future__ import annotations

import html
from collections.abc import Sequence

from diffode.analysis.budget import PARTS, ErrorBudget

_COLOURS = dict(zip(PARTS, ("#8a63c9", "#e07b39", "#2f6fb5"), strict=True))
_ROW, _GAP, _LEFT, _WIDE = 15, 8, 100, 270  # a bar, between fields, labels, a panel


def chart(budgets: Sequence[ErrorBudget]) -> str:
    """On the left how far parts move samples, on the right the score from stage to stage."""
    far = max(e.value for b in budgets for e in b.distances.values()) or 1.0
    high = max(s.value for b in budgets for s in b.scores) or 1.0
    right = _LEFT + _WIDE + 40
    out = [
        f'<text x="{_LEFT}" y="14">moves samples by, up to {far:.2g}</text>',
        f'<text x="{right}" y="14">the score, up to {high:.2g}; dashed: real data</text>',
    ]
    top = 30
    for b in budgets:
        out.append(f'<text x="0" y="{top + 12}" font-weight="600">{html.escape(b.name)}</text>')
        for j, part in enumerate(PARTS):
            y = top + (j + 1) * _ROW
            before, after = (_WIDE * b.scores[k].value / high for k in (j, j + 1))
            left, width = min(before, after), max(abs(after - before), 1.0)
            better = ' fill-opacity=".45"' if after < before else ""
            out += [
                f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{part}</text>',
                _bar(_LEFT, y, _WIDE * b.distances[part].value / far, part),
                _bar(right + left, y, width, part, better),
                f'<path d="M{right + after:.1f} {y + 1}v{_ROW}" stroke="currentColor"/>',
            ]
        floor = right + _WIDE * min(b.floor.value, high) / high
        dashes = 'stroke="currentColor" stroke-dasharray="3 3"'
        out.append(f'<path d="M{floor:.1f} {top + _ROW}v{3 * _ROW + 3}" {dashes}/>')
        top += 4 * _ROW + _GAP
    size = f'viewBox="0 0 {right + _WIDE + 20} {top}"'
    return f'<svg {size} role="img" aria-label="error budgets">{"".join(out)}</svg>'


def _bar(x: float, y: float, width: float, part: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 3}"'
    return f'<rect {place} fill="{_COLOURS[part]}"{more}/>'
