"""What makes samples wrong, and by how much: error budgets, bounds, orders, training as an ODE."""

from diffode.analysis.bound import Bound, wasserstein_bound
from diffode.analysis.budget import ErrorBudget, error_budget
from diffode.analysis.orders import Convergence, convergence
from diffode.analysis.parameter_ode import GameFlow, penalised

__all__ = [
    "Bound",
    "Convergence",
    "ErrorBudget",
    "GameFlow",
    "convergence",
    "error_budget",
    "penalised",
    "wasserstein_bound",
]
