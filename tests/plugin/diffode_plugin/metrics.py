"""A metric."""

from diffode.metrics import metric


@metric("spread", "one", "standard deviation over that of real data")
def spread(s):
    """The ratio of the standard deviations."""
    return s.x.std() / s.reference.std()
