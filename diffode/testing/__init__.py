"""The contract that every field keeps, as a kit for your own.

>>> from diffode.data import load
>>> from diffode.fields import VP, Empirical
>>> points = load("moons").train[:200]
>>> check_field(Empirical(points, VP()), points)[-3:]
['score', 'flow', 'Lipschitz']
>>> diagnose(Empirical(points / 2, VP()), points).mistakes
('data scale',)
"""

from diffode.testing.contract import CHECKS, check_objective
from diffode.testing.corruptions import CORRUPTION_CHECKS
from diffode.testing.diagnose import check_field, diagnose
from diffode.testing.findings import Finding, Mistake, Report, Steepness

__all__ = [
    "CHECKS",
    "CORRUPTION_CHECKS",
    "Finding",
    "Mistake",
    "Report",
    "Steepness",
    "check_field",
    "check_objective",
    "diagnose",
]
