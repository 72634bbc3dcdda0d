"""Options of the general recipes that would be passed over in silence."""

import pytest

from diffode import build


@pytest.mark.parametrize("name", ["rectified", "interpolant"])
def test_a_regularisation_that_nothing_looks_at_is_refused(name):
    with pytest.raises(ValueError, match="it is for coupling=sinkhorn"):
        build(name, (2,), coupling="ot", regularisation=1.0)
