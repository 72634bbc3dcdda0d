"""The contract that every field keeps, as a kit for your own.

>>> from diffode.fields import Empirical, VP
>>> import torch
>>> field = Empirical(torch.tensor([[-1.0], [0.5], [1.0]]), VP())
>>> len(check_field(field)) > 5
True
"""

from diffode.testing.contract import CHECKS, check_objective
from diffode.testing.diagnose import check_field, diagnose
from diffode.testing.findings import Finding, Mistake, Report, Steepness

__all__ = [
    "CHECKS",
    "Finding",
    "Mistake",
    "Report",
    "Steepness",
    "check_field",
    "check_objective",
    "diagnose",
]
