"""The types of recipe options, with the ranges that are checked."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt

Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
Share = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
