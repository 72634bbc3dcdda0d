"""All strings of a few letters, and a law on them whose positions depend on each other."""

import torch

LETTERS, LENGTH = 4, 4


def strings(length=LENGTH, letters=LETTERS):
    return torch.cartesian_prod(*[torch.arange(letters)] * length)


def law(length=LENGTH, letters=LETTERS, seed=0):
    """Two Markov chains, either with probability one half, shape (letters^length,), float64."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    first = torch.softmax(random(letters), 0)
    onward = torch.softmax(1.7 * random(2, letters, letters), -1)
    x, p = strings(length, letters), torch.zeros(letters**length, dtype=torch.float64)
    for chain in onward:
        q = first[x[:, 0]]
        for i in range(1, length):
            q = q * chain[x[:, i - 1], x[:, i]]
        p += q / 2
    return p


def index(x, letters=LETTERS):
    """The place of each string in `strings`."""
    powers = letters ** torch.arange(x.shape[1] - 1, -1, -1)
    return (x * powers).sum(1)


def chi2(x, p, letters=LETTERS):
    """The p-value of Pearson's test that strings x follow the law p, rare ones taken together."""
    from scipy import stats

    found, wanted = torch.bincount(index(x, letters), minlength=len(p)).double(), p * len(x)
    rare = wanted < 5
    found = torch.cat((found[~rare], found[rare].sum()[None]))
    wanted = torch.cat((wanted[~rare], wanted[rare].sum()[None]))
    keep = wanted > 0
    return stats.chisquare(found[keep].numpy(), wanted[keep].numpy()).pvalue
