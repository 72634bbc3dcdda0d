# %% [markdown]
# # Lesson 8. Guidance, audited
#
# **Question.** A model of labelled data is often asked for its classes with *guidance*: a weight
# $w > 1$ leads samples further towards the label. The pictures look more typical. But what are
# they samples *of*?
#
# Guidance (Ho and Salimans, 2022) combines two answers of the model at a noisy point $x$, with the
# label $y$ and without it:
#
# $$E_w = E[x_0 | x] + w (E[x_0 | x, y] - E[x_0 | x]).$$
#
# With $w = 1$ it is the class as it is. At each noise level it is the field of the density
# $p_t(x)^{1-w} p_t(x | y)^w$. So it is said to sample the **tilted law** of the data,
# $p(x)^{1-w} p(x | y)^w$.
#
# **Predict.** (a) Is that so? (b) If not, will guided samples vary more or less than the tilted
# law? (c) Which part of the noise levels is to blame: high noise or low noise?
#
# The data are a known mixture, so both the field and the tilted law are exact here. What differs
# is guidance itself: no network and no solver can be blamed.

# %%
import os

import matplotlib.pyplot as plt
import torch

from diffode import Rng, sample
from diffode.analysis import tilted
from diffode.fields import Karras, Mixture, classifier_free

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"  # set where the lessons are tested
COUNT = 200 if SMALL else 1000
BLUE, ORANGE, INK, PALE = "#2f6fb5", "#e07b39", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})


def line(means, stds, labels):
    """The exact field of Gaussians of equal weight on a line."""
    rows = [torch.tensor(v, dtype=torch.float64) for v in (means, stds)]
    weights = torch.full((len(means),), 1 / len(means), dtype=torch.float64)
    return Mixture(weights, rows[0][:, None], rows[1], Karras(), labels=torch.tensor(labels))


two = line([-1.0, 1.0], [0.5, 0.5], [0, 1])
wide = line([-1.0, 0.0, 1.5], [0.5, 0.5, 0.5], [0, 1, 1])  # class 1 has two parts

# %% [markdown]
# ## At one noise level it is as said
#
# For normal noise a field belongs to a density by
# $E[x_0 | x] = (x + \sigma^2 \nabla \log p_t(x)) / \alpha$ (Tweedie's formula; here $\alpha = 1$
# and $t = \sigma$). We take the slope of $\log p_t(x)^{1-w} p_t(x | y)^w$ by automatic
# differentiation and compare.

# %%
x = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None].requires_grad_()
for w in (1.0, 2.0, 4.0):
    for sigma in (0.1, 1.0, 10.0):
        log = (1 - w) * wide.log_marginal(x, sigma) + w * wide.log_marginal(x, sigma, 1)
        (slope,) = torch.autograd.grad(log.sum(), x)
        guided = classifier_free(wide, w).denoise(x, sigma, torch.ones(61).long())
        gap = float((guided - x - sigma**2 * slope).detach().abs().max())
        assert gap < 1e-8, gap
print("the guided field is the field of the tilted density, at every level that was tried")

# %% [markdown]
# ## But the levels do not belong together
#
# Samples are moved from level to level. For this to end at a law $q$, the densities on the way
# must be those of $q$ *with noise added*. Are the tilted densities that? We take the tilted law of
# the data, add noise to it, and compare with the tilted density at that level. On a grid both are
# sums.

# %%
grid = torch.linspace(-60, 60, 12001, dtype=torch.float64)


def tilt(field, w, sigma):
    """The tilted density at a noise level, on the grid, with the sum 1."""
    x = grid[:, None]
    log = (1 - w) * field.log_marginal(x, sigma) + w * field.log_marginal(x, sigma, 1)
    return torch.softmax(log, 0)


def noisy(density, sigma):
    """A density on the grid with normal noise added."""
    kernel = torch.exp(-((grid / sigma) ** 2) / 2)
    both = torch.fft.rfft(density, 24001) * torch.fft.rfft(kernel / kernel.sum(), 24001)
    return torch.fft.irfft(both, 24001)[6000:18001]


w, gaps = 4.0, []
figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.4), layout="constrained")
for ax, sigma in zip(axes, (0.2, 1.0, 3.0), strict=True):
    said, true = tilt(wide, w, sigma), noisy(tilt(wide, w, 0.002), (sigma**2 - 0.002**2) ** 0.5)
    means = float(said @ grid), float(true @ grid)
    gaps.append(means[0] - means[1])
    ax.plot(grid, 100 * true, color=INK, lw=2, label="tilted law of the data, noise added")
    ax.plot(grid, 100 * said, color=ORANGE, lw=2, ls="--", label="tilted density at this level")
    ax.set(title=f"noise {sigma:g}: means {means[0]:.2f} and {means[1]:.2f}", xlabel="x")
    ax.set(xlim=(-1 - 2 * sigma, 3 + 4 * sigma), yticks=[])
axes[0].set_ylabel("density")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
figure.suptitle("Weight 4: the densities that guidance follows are not noisy versions of one law")
assert abs(gaps[0]) < 0.2 < gaps[1] < gaps[2]
print("the two means are apart by", ", ".join(f"{gap:.2f}" for gap in gaps))

# %% [markdown]
# **Explanation.** To tilt and to add noise are two operations, and their order matters. At high
# noise $p_t(x)$ and $p_t(x | y)$ are both nearly normal, with the variance of the noise and the
# means $m$ and $m_y$ of all data and of the class. Their tilt has the mean $m + w (m_y - m)$, here
# 2.5: beyond all data. A sample that follows these densities begins its way towards a wrong place,
# and the low levels cannot bring it back.
#
# **When the order does not matter.** Guide away from $N(0, s^2)$ towards $N(m, s^2)$. The tilt is
# $N(w m, s^2)$ at every level: guidance does sample it. We check this rare case first.

# %%
nothing = line([0.0], [0.5], [0])
one = line([1.0], [0.5], [0])
guided = classifier_free(one, 3.0, weak=nothing)
x = sample(guided, COUNT, seed=1, y=0).x.double()
print(f"N(0, .25) to N(1, .25), w = 3: mean {float(x.mean()):.3f}, variance {float(x.var()):.3f}")
assert abs(float(x.mean()) - 3) < 0.15 and abs(float(x.var()) / 0.25 - 1) < 0.3

# %% [markdown]
# ## Guided samples beside the tilted law
#
# Now in the plane: six classes about a ring, each of two Gaussians, so that the classes overlap.
# The tilted law can be drawn exactly: draw a point of the class, and accept it with a probability
# proportional to $P(y | x)^{w-1}$. `diffode.analysis.tilted` does that.

# %%
turn = torch.arange(12, dtype=torch.float64) // 2 * (torch.pi / 3)
ring = 1.3 * torch.stack((turn.cos(), turn.sin()), 1)
ring = ring + 0.5 * Rng(7).normal("places", ring.shape, torch.float64)
classes = torch.arange(12) // 2
widths = torch.full((12,), 0.4, dtype=torch.float64)
plane = Mixture(torch.full((12,), 1 / 12).double(), ring, widths, Karras(), labels=classes)


weights = [1.0, 2.0, 4.0] if SMALL else [1.0, 1.5, 2.0, 3.0, 4.0]
laws = {w: tilted(plane, 0, w, COUNT, Rng(3)).x.double() for w in [0.5, *weights]}


def draw(w, **how):
    """Guided samples of class 0, and draws of the tilted law."""
    guided = classifier_free(plane, w, **how)
    return sample(guided, COUNT, nfe=40, seed=2, y=0).x.double(), laws[w]


def beside(x, law):
    """How far the mean is off, in radii of the law, and the samples' part of its variance."""
    total = law.var(0).sum()
    return float((x.mean(0) - law.mean(0)).norm() / total.sqrt()), float(x.var(0).sum() / total)


figure, axes = plt.subplots(
    1, 3, figsize=(12.5, 4.8), sharex=True, sharey=True, layout="constrained"
)
all_data = plane.sample(2000, Rng(4))
shift, spread = {}, {}
for ax, w in zip(axes, (1.0, 2.0, 4.0), strict=True):
    x, law = draw(w)
    shift[w], spread[w] = beside(x, law)
    ax.scatter(*all_data.T, s=2, color=PALE, label="all classes")
    ax.scatter(*law.T, s=7, color=BLUE, marker="o", label="tilted law of class 0")
    ax.scatter(*x.T, s=9, color=ORANGE, marker="x", lw=0.8, label="guided samples")
    ax.set(aspect="equal", title=f"w = {w:g}: {spread[w]:.0%} of the law's variance")
    print(f"w = {w:g}: mean off by {shift[w]:.2f} radii, {spread[w]:.2f} of the variance")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
figure.suptitle("What guidance samples, and what it is said to sample")
assert shift[1.0] < 0.25 and abs(spread[1.0] - 1) < 0.3  # w = 1 is the class itself
assert shift[4.0] > shift[2.0] > shift[1.0] and spread[4.0] < spread[2.0] < 0.9

# %% [markdown]
# **Explanation.** (a) No: only for $w = 1$. (b) Guided samples go too far from the other classes
# and vary too little. Part of the class, the part that lies near to other classes, is missing,
# though the tilted law keeps some of it. "More typical" is right; "samples of the sharpened law"
# is not.
#
# ## Which noise levels are to blame?
#
# Guidance may be on in an interval of noise levels only (Kynkaanniemi et al., 2024); elsewhere
# $w = 1$. We try high noise alone and low noise alone.

# %%
ways = {
    "all levels": {},
    "noise above 1 only": {"interval": (1.0, 80.0)},
    "noise below 1 only": {"interval": (0.0, 1.0)},
}
found = {}
figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.8), layout="constrained")
for (name, how), colour, mark in zip(ways.items(), (ORANGE, INK, BLUE), "os^", strict=True):
    found[name] = [beside(*draw(w, **how)) for w in weights]
    for ax, values in zip(axes, zip(*found[name], strict=True), strict=True):
        ax.plot(weights, values, color=colour, marker=mark, label=name)
    print(f"{name}: at w = 4 the mean is off by {found[name][-1][0]:.2f} radii")
axes[0].set(xlabel="weight w", ylabel="radii", title="How far the mean is off the tilted law's")
axes[1].set(xlabel="weight w", ylabel="ratio", title="The samples' variance over the tilted law's")
axes[1].axhline(1, color=PALE, zorder=0)
axes[0].legend()
every, high, low = (found[name][-1] for name in ways)
assert low[0] < high[0] / 2 and low[0] < every[0] / 2 and low[1] > every[1]

# %% [markdown]
# **Explanation.** (c) High noise is to blame. There the tilted density is far from every noisy law
# of data, as the first figure showed, and there a sample decides where it goes. With guidance
# below $\sigma = 1$ alone, about the distance of the classes, samples stay near the tilted law,
# and they still are of their class. It also saves network calls, since outside of the interval the
# model is called once and not twice.
#
# **What to remember.** Guidance is exact level by level, and the levels do not fit together. It
# makes samples that are more typical and less varied than any law it names. Choose $w$ by what you
# need, and do not read guided samples as draws from a sharpened law.
#
# ## Exercises
#
# 1. For $0 < w < 1$ one might think that guided samples are a compromise between all data and the
#    class. Measure: are they further from the tilted law than those of $w = 1$?
# 2. How many guided samples does the exact classifier, $P(y | x)$, give the label, and how many of
#    the tilted law? Which number would a paper report?
# 3. Does the error of guidance come from the solver? Compare 20 with 100 evaluations.
#
# ## Answers

# %%
# 1. Yes: now they vary too much.
half = beside(*draw(0.5))
print(f"w = 0.5: mean off by {half[0]:.2f} radii, {half[1]:.2f} of the variance")
assert half[0] > shift[1.0] and half[1] > spread[1.0]


# %%
# 2. More of the guided ones: accuracy rewards what guidance overdoes.
def accuracy(x):
    """The share of points that the exact classifier gives the label 0."""
    logs = torch.stack([plane.log_marginal(x, 0.002, k) for k in range(6)])  # equal classes
    return float((logs.argmax(0) == 0).double().mean())


guided, law = draw(4.0)
print(f"of their label: guided {accuracy(guided):.1%}, tilted law {accuracy(law):.1%}")
assert accuracy(guided) >= accuracy(law) > accuracy(plane.sample(COUNT, Rng(5), 0).double())

# %%
# 3. No: the solver's part is far smaller.
few, many = (sample(classifier_free(plane, 4.0), COUNT, nfe=k, seed=2, y=0).x for k in (20, 100))
gap = float((few - many).norm(dim=1).median())
print(f"20 against 100 evaluations: the median sample moves by {gap:.4f}")
assert gap < 0.1 * shift[4.0]
