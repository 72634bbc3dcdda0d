"""Recipes: a paper is a function of about ten lines that composes parts.

A recipe's keyword-only parameters are the one place where its hyper-parameters and their defaults
stand: command-line options, checkpoints and tables derive from the signature. Recipes import
torch inside their functions, so that listing them is instant.
"""

from __future__ import annotations

import importlib

from diffode.recipes.registry import Recipe, find, names, recipe, solver_of

__all__ = ["Recipe", "find", "names", "recipe", "solver_of"]

_MODULES = (
    "diffusion",
    "poisson",
    "rectified",
    "radial",
    "blur",
    "interpolant",
    "monoflow",
    "tokens",
    "classifier",
    "flowmap",
)
for _module in _MODULES:  # each registers its recipes
    importlib.import_module(f"{__name__}.{_module}")
