"""Which of many cases `make test` takes; `make test-all` takes all of them."""

import pytest


def quick(cases, *kept):
    """Parameters of a test; those of other places than the kept ones are marked as slow."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*row, marks=[] if k in kept else pytest.mark.slow)
        for k, row in enumerate(rows)
    ]
