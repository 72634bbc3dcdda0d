"""Lessons: scripts in cells, executed from top to bottom into pages with figures, and notebooks.

A lesson is a file ``NN_name.py`` in the percent format, which editors and Jupytext open as a
notebook: ``# %% [markdown]`` begins a cell of text, ``# %%`` one of code. See docs/lessons.md.
"""
