"""Points of overlapping classes, their exact fields, and a test of two samples."""

import math

import torch
from scipy import stats

from diffode.fields import Empirical, Karras
from diffode.rng import Rng


def cloud(dim, classes=3, each=20, seed=0):
    """Points of overlapping classes and their labels."""
    g = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, 1, dim, generator=g).double() / math.sqrt(dim)
    x = centres + 0.3 * torch.randn(classes, each, dim, generator=g).double()
    return x.flatten(0, 1), torch.arange(classes).repeat_interleave(each)


def exact(schedule=None, noise=None, dim=3, labels=True):
    x, y = cloud(dim)
    return Empirical(x, schedule or Karras(0.05, 100.0), noise, labels=y if labels else None)


def noisy(field, t, n=24):
    """Points x_t of the data, and labels that are not theirs."""
    x = field.corrupt(field.sample(n, Rng(0)).double(), t, Rng(1))[0]
    return x, torch.arange(n) % 3


def p_value(a, b, permutations=400):
    """Of the energy distance between two samples, under permutations of their rows."""
    both = torch.cat((a, b)).double()
    d, n = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist"), len(a)
    g = torch.Generator().manual_seed(0)
    orders = [torch.arange(len(both))]
    orders += [torch.randperm(len(both), generator=g) for _ in range(permutations)]
    first = torch.zeros(len(orders), len(both), dtype=torch.float64)
    first.scatter_(1, torch.stack(orders)[:, :n], 1 / n)
    second = torch.where(first > 0, 0.0, 1 / len(b))
    gap = first - second  # the energy distance is -(u - v) d (u - v), u and v the two weights
    energy = -((gap @ d) * gap).sum(1)
    return float((energy[1:] >= energy[0]).double().mean())


def apart(a, b, count=8):
    """The least p-value of Kolmogorov-Smirnov tests along fixed directions, times their number.

    Its time grows with the rows and not with their square, so that it suits tens of thousands.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    angles = torch.arange(count) * math.pi / count
    ways = torch.stack((angles.cos(), angles.sin())).double()
    if a.shape[1] != 2:
        g = torch.Generator().manual_seed(0)
        ways = torch.randn(a.shape[1], count, generator=g).double()
    pairs = zip((a @ ways).T.numpy(), (b @ ways).T.numpy(), strict=True)
    return min(count * stats.ks_2samp(one, two).pvalue for one, two in pairs)
