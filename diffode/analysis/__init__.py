"""What makes samples wrong, and by how much: budgets, guidance, bounds, orders, training."""

from diffode.analysis.bound import Bound, wasserstein_bound
from diffode.analysis.budget import ErrorBudget, error_budget
from diffode.analysis.guidance import GuidanceAudit, audit
from diffode.analysis.orders import Convergence, convergence
from diffode.analysis.parameter_ode import GameFlow, penalised
from diffode.analysis.tilted import Tilted, tilted

__all__ = [
    "Bound",
    "Convergence",
    "ErrorBudget",
    "GameFlow",
    "GuidanceAudit",
    "Tilted",
    "audit",
    "convergence",
    "error_budget",
    "penalised",
    "tilted",
    "wasserstein_bound",
]
