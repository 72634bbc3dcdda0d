# %% [markdown]
# # Lesson 9. Likelihood: the density along the flow
#
# **Question.** A flow draws samples. Can it also say how probable a given point is? And if one
# model gives real data more probability than another, are its samples better?
#
# A point moves by $dx/dt = f_t(x)$. A small cloud around it is squeezed or spread by the flow, and
# the density changes as the volume does. Along the path
#
# $$\frac{d}{dt} \log p_t(x_t) = - \nabla \cdot f_t(x_t),$$
#
# the divergence $\nabla \cdot f = \sum_i \partial f_i / \partial x_i$ being the rate at which
# volume grows (Chen et al., 2018, eq. 8). So follow a data point to the prior, whose density is
# known, and add up the divergence on the way.
#
# **Predict.** (a) The digits have 64 pixels of 17 grey levels. A picture whose pixels are drawn
# evenly costs $\log_2 17 = 4.09$ bits a pixel. How many does a single Gaussian need? (b) Which has
# the higher density under it: a real digit, or the mean of all digits? (c) Replace 99 % of a good
# model's samples by garbage. How much likelihood is lost?

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode import Rng, log_prob
from diffode.data import load
from diffode.fields import VP, Mixture
from diffode.likelihood import bits_per_dim, dequantise, quantisation_of

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"  # set where the lessons are tested
BLUE, ORANGE, INK, PALE = "#2f6fb5", "#e07b39", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

means = torch.tensor([[-1.0, 0.0], [1.2, 0.6], [0.8, -1.0]], dtype=torch.float64)
stds = torch.tensor([[0.5, 0.2], [0.2, 0.5], [0.4, 0.3]], dtype=torch.float64)
three = Mixture(torch.tensor([0.5, 0.2, 0.3]).double(), means, stds, VP())
prior, end = three.span  # t = 1 is noise, t = 0.001 is data

# %% [markdown]
# ## By hand
#
# We integrate the point and the divergence together, from data to noise, with 2 x 2 Jacobians by
# automatic differentiation. The data are a known mixture, so the exact density is a formula.


# %%
def with_divergence(x, t):
    """The velocity at the points, and its divergence."""
    v = three.velocity(x, t)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: three.velocity(z[None], t)[0]))(x)
    return v, jacobian.diagonal(dim1=1, dim2=2).sum(1)


def log_density(x, steps):
    """log p of points by the change of variables, with the midpoint method."""
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 2 * (prior - end) + end
    gained = torch.zeros(len(x), dtype=torch.float64)
    for now, then in zip(times[:-1], times[1:], strict=True):  # noqa: RUF007
        half, _ = with_divergence(x, now)
        v, divergence = with_divergence(x + (then - now) / 2 * half, (now + then) / 2)
        x, gained = x + (then - now) * v, gained + (then - now) * divergence
    return three.log_marginal(x, prior) + gained


points = three.sample(50, Rng(0)).double()
truth = three.log_marginal(points, end)
errors = {k: float((log_density(points, k) - truth).abs().max()) for k in (10, 20, 40)}
print("largest error of log p:", {k: f"{v:.1e} with {k} steps" for k, v in errors.items()})
assert errors[40] < 0.05 and errors[40] < errors[10] / 4

# %% [markdown]
# `diffode.log_prob` does the same with an adaptive solver, for any field. By default it takes the
# prior's density at the end; the path's own law there is a little different, which costs a small
# and known error.

# %%
close = log_prob(three, points, terminal=lambda x: three.log_marginal(x, prior))
usual = log_prob(three, points)
print(f"with the path's own law at the end: off by {float((close.nats - truth).abs().max()):.1e}")
print(f"with the prior: off by {float((usual.nats - truth).abs().max()):.1e} nats")
assert float((close.nats - truth).abs().max()) < 1e-3
assert float((usual.nats - truth).abs().max()) < 0.2

# %%
side = torch.linspace(-2.6, 2.6, 90, dtype=torch.float64)
cells = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).reshape(-1, 2)
turn = torch.linspace(0, 2 * math.pi, 60, dtype=torch.float64)
loops = means[:, None] + 0.35 * torch.stack((turn.cos(), turn.sin()), 1)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.9), layout="constrained")
shown, x, now = [end, 0.15, 0.35, 1.0], loops.reshape(-1, 2), end
for ax, t in zip(axes, shown, strict=True):
    for k in range(40 if t > end else 0):
        h = (t - now) / 40
        x = x + h * three.velocity(x + h / 2 * three.velocity(x, now + k * h), now + (k + 0.5) * h)
    now = t
    density = three.log_marginal(cells, t).exp().view(90, 90).numpy()
    ax.pcolormesh(
        side.numpy(), side.numpy(), density, cmap="Greys", shading="auto", rasterized=True
    )
    for loop, colour in zip(x.view(3, -1, 2), (ORANGE, BLUE, INK), strict=True):
        ax.plot(*loop.T, color=colour, lw=2)
    ax.set(aspect="equal", title=f"t = {t:.2f}", xticks=[], yticks=[])
figure.suptitle("A loop that the flow carries keeps the mass inside it, and changes its area")
plt.show()

# %% [markdown]
# ## Many dimensions: Hutchinson's estimate
#
# The exact divergence takes $N$ products with the Jacobian $A$. For an image that is too many.
# Take instead random signs $u$: since $E[u u^T] = I$,
#
# $$E[u^T A u] = \operatorname{tr} A, \; \operatorname{Var}[u^T A u] = 2 \sum_{i \ne j} S_{ij}^2$$
#
# with $S$ the symmetric part of $A$. One product is unbiased; $K$ of them divide the variance by
# $K$. We check both on the Jacobian of the exact field of a Gaussian fit to the digits.

# %%
digits = load("digits")
flat = digits.train.flatten(1).double()
centre, covariance = flat.mean(0), flat.T.cov() + 1e-3 * torch.eye(64)
one = torch.ones(1).double()
fitted = Mixture(one, centre[None], covariance[None], VP())
picture = digits.test[:1].flatten(1).double()
A = torch.func.jacrev(lambda z: fitted.velocity(z[None], 0.2)[0])(picture[0])
u = Rng(1).normal("signs", (20_000, 64), torch.float64).sign()
estimates = torch.einsum("ki,ij,kj->k", u, A, u)
S = (A + A.T) / 2
variance = 2 * float(S.square().sum() - S.diagonal().square().sum())
print(f"trace {float(A.trace()):.2f}; mean of the estimates {float(estimates.mean()):.2f}")
print(f"variance {float(estimates.var()):.3f}, by the formula {variance:.3f}")
assert abs(float(estimates.mean() - A.trace())) < 5 * (variance / 20_000) ** 0.5
assert abs(float(estimates.var()) / variance - 1) < 0.1

# %%
figure, ax = plt.subplots(figsize=(12, 4.8), layout="constrained")
for probes, colour in ((1, PALE), (10, ORANGE), (100, BLUE)):
    means_of = estimates.view(-1, probes).mean(1)
    label = f"K = {probes}: standard deviation {float(means_of.std()):.2f}"
    ax.hist(
        means_of.numpy(), 150, range=(120, 220), density=True, color=colour, alpha=0.8, label=label
    )
    expected = (variance / probes) ** 0.5
    assert abs(float(means_of.std()) / expected - 1) < 0.25
ax.axvline(float(A.trace()), color=INK, lw=2, label="exact trace: 64 products")
ax.set(xlabel="estimate of the divergence", ylabel="density")
ax.set_title("Hutchinson's estimate: right on average, narrower as 1 / sqrt(K)")
ax.legend()
plt.show()

# %% [markdown]
# ## Bits per dimension
#
# Pictures have grey *levels*: a probability for each, not a density. Add even noise of one level's
# width $h$ (dequantisation). Then, by Jensen's inequality, $-\frac{1}{N} E \log_2 p - \log_2 h$
# bits a pixel are at least what a code for the levels would need (Theis et al., 2016). With it
# models of different data scales can be compared. We compare three laws on *held-out* digits.

# %%
levels = quantisation_of(digits.train)
soft = dequantise(digits.test.flatten(1).double(), levels, Rng(2))
train = dequantise(flat, levels, Rng(3))
count = len(train)


def clouds(width):
    """A Gaussian of that width on every training picture."""
    return Mixture(
        torch.full((count,), 1 / count).double(), train, width * torch.ones(count).double(), VP()
    )


def bits(law, x):
    """Bits per dimension of each picture, by the exact density at the data's end."""
    return bits_per_dim(law.log_marginal(x, end), 64, levels)


gaussian = Mixture(one, train.mean(0)[None], train.T.cov()[None], VP())
laws = {"a Gaussian": gaussian, "clouds of 0.3": clouds(0.3), "clouds of 0.02": clouds(0.02)}
print(f"{levels.count} levels; even pixels need {math.log2(levels.count):.2f} bits")
table = {}
for name, law in laws.items():
    table[name] = [float(bits(law, x).mean()) for x in (train[:300], soft)]
    print(f"{name}: bits on training pictures {table[name][0]:.2f}, new {table[name][1]:.2f}")
assert table["a Gaussian"][1] < math.log2(17) and table["clouds of 0.3"][1] < math.log2(17)
assert table["clouds of 0.02"][0] < 0 < 20 < table["clouds of 0.02"][1]  # learned by heart

# %% [markdown]
# **Explanation.** The narrow clouds know the training pictures by heart: a splendid figure on
# those, a hopeless one on new ones. So only a *held-out* likelihood says anything. And then it
# says a lot: nothing can be hidden from it, since a model that misses a part of the data pays
# there without bound.
#
# ## What likelihood does not say
#
# It says nothing about samples. First: mix a good model with 99 % garbage. Its density is at least
# 1 % of the good one, so $\log p$ falls by at most $\log 100 = 4.6$ nats: over 64 pixels, 0.10
# bits. For a photograph of 3,072 numbers it is 0.002 bits: nobody would see it in a table. Second:
# high density does not mean typical. We compare densities of real digits and of the mean of all.


# %%
def mixed(law, x):
    """Bits of 1 % of the law and 99 % of even noise from -1 to 1."""
    good = law.log_marginal(x, end) + math.log(0.01)
    garbage = torch.full_like(good, math.log(0.99) - 64 * math.log(2))
    return bits_per_dim(torch.logaddexp(good, garbage), 64, levels)


lost = float((mixed(gaussian, soft) - bits(gaussian, soft)).mean())
print(f"99 of 100 samples are noise, and the price is {lost:.3f} bits a pixel")
assert 0 < lost < 0.11
draws = gaussian.sample(359, Rng(4)).double()
average = float(gaussian.log_marginal(centre[None], end))
sets = {"new digits": (soft, ORANGE), "the Gaussian's own draws": (draws, BLUE)}
figure, ax = plt.subplots(figsize=(12, 4.8), layout="constrained")
for name, (x, colour) in sets.items():
    values = gaussian.log_marginal(x, end)
    ax.hist(values.numpy(), 40, range=(-60, 25), color=colour, alpha=0.7, label=name)
    print(
        f"{name}: log p {float(values.mean()):.0f} on average, at most {float(values.max()):.0f}"
    )
    assert float(values.max()) < average
ax.axvline(average, color=INK, lw=2, ls="--", label="the mean of all digits, a grey blot")
ax.set(xlabel="log p under the Gaussian, in nats", ylabel="pictures")
ax.set_title("The most probable picture is none that the model would draw")
ax.legend()
print(f"the mean picture: log p {average:.0f}")

# %% [markdown]
# **Explanation.** The density is highest at the mean, but there is almost no volume there. In many
# dimensions draws lie in a shell about the mean. So do not sort pictures by $\log p$ and call the
# last ones strange, nor climb $\log p$ to make good ones.
#
# **What to remember.** $\log p$ is the prior's plus the divergence on the way. Judge by held-out
# bits, with the level's width counted. Likelihood punishes what is missing, samples show what is
# too much: look at both.
#
# ## Exercises
#
# 1. The same points in other units, $x' = 10 x$. What happens to $\log p$, and to bits per
#    dimension?
# 2. `log_prob(..., trace="hutchinson", probes=10)` states a standard error. Does it cover the
#    truth?
#
# ## Answers

# %%
# 1. log p falls by N log 10; the levels' width grows tenfold, so the bits stay.
tenfold = Mixture(one, 10 * train.mean(0)[None], 100 * train.T.cov()[None], VP())
wide = quantisation_of(10 * digits.train)
fell = float((gaussian.log_marginal(soft, end) - tenfold.log_marginal(10 * soft, end)).mean())
other = float(bits_per_dim(tenfold.log_marginal(10 * soft, end), 64, wide).mean())
print(f"log p falls by {fell:.2f} = 64 log 10 = {64 * math.log(10):.2f}; bits {other:.3f}")
assert abs(fell - 64 * math.log(10)) < 0.1 and abs(other - table["a Gaussian"][1]) < 0.01

# %%
# 2. For most points: 1.96 standard errors are meant to cover 95 %.
few = soft[: 8 if SMALL else 20]
close = log_prob(
    fitted,
    few,
    trace="hutchinson",
    probes=10,
    terminal=lambda x: fitted.log_marginal(x, prior),
    rtol=1e-4,
    atol=1e-4,
)
off = (close.nats - fitted.log_marginal(few, end)).abs()
print(f"covered: {int((off < 1.96 * close.stderr).sum())} of {len(few)}")
assert float((off < 4 * close.stderr).double().mean()) > 0.8
