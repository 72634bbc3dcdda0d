"""The contract that every field keeps, as a kit for your own.

>>> from diffode.fields import Empirical, VP
>>> import torch
>>> field = Empirical(torch.tensor([[-1.0], [0.5], [1.0]]), VP())
>>> len(check_field(field)) > 5
True
"""

from diffode.testing.contract import CHECKS, check_field, check_objective

__all__ = ["CHECKS", "check_field", "check_objective"]
