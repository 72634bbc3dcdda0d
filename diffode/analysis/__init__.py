"""What makes samples wrong, and by how much: error budgets, bounds, orders, training as an ODE."""

from diffode.analysis.bound import Bound, wasserstein_bound
from diffode.analysis.budget import ErrorBudget, error_budget
from diffode.analysis.orders import Convergence, convergence

__all__ = [
    "Bound",
    "Convergence",
    "ErrorBudget",
    "convergence",
    "error_budget",
    "wasserstein_bound",
]
