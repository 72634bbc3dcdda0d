# %% [markdown]
# # Lesson 3. Field lines in the (x, z) half-plane
#
# **Question.** A Poisson flow lives in one dimension more than its data. If the data are numbers
# $x$ on a line, the whole flow is a picture: the half-plane of points $(x, z)$ with $z > 0$. What
# does it look like, and what can be read off it?
#
# **Predict.** Four charges lie on the line $z = 0$, at $-3$, $-1$, $0.5$ and $3.5$. Their weights
# are 45, 10, 10 and 35 %, their mean is $-0.18$.
#
# * (a) May two field lines cross, or touch?
# * (b) A line comes from straight above the mean of the data. Does it end at the charge that is
#   nearest to the mean?
# * (c) A solver follows 40 lines in a few hundred steps. Can the same picture be drawn
#   *without* a solver?

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode.fields import VE, Empirical, Karras, PoissonField
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"
COUNT, STEPS = (40, 150) if SMALL else (80, 400)  # lines, and steps of the solver
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
BLUE, ORANGE, INK, PALE = "#0072B2", "#E69F00", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

charges = torch.tensor([-3.0, -1.0, 0.5, 3.5], dtype=torch.float64)
weights = torch.tensor([0.45, 0.1, 0.1, 0.35], dtype=torch.float64)
mean, far = float(weights @ charges), 200.0
exact = Empirical(charges[:, None], Karras(1e-3, far), StudentT(dof=1), weights)
print(f"mean of the data: {mean:.2f}")

# %% [markdown]
# ## Follow the lines
#
# With data dimension $N = 1$ the field of the charges is (lesson 2, with the sign away from them)
#
# $$E(x, z) = \sum_k w_k \frac{(x - y_k, \; z)}{(x - y_k)^2 + z^2}, \qquad
# \frac{dx}{dz} = \frac{E_x}{E_z}.$$
#
# We start on a half circle of radius 200 about the mean, in 40 or more even directions, and follow
# each line down. A line that starts at the angle $\theta$ has the height
# $z = 200 \sin \theta$ there: each has a height of its own, which `bind` tells the field.

# %%
angles = (torch.arange(COUNT, dtype=torch.float64) + 0.5) * math.pi / COUNT


def follow(field, radius, steps=STEPS, kind="logsnr", q=None, start=None):
    """Coordinates x and z (steps + 1, COUNT) of lines from a half circle to the data."""
    q = angles.sin() if q is None else q
    start = mean + radius * angles.cos() if start is None else start
    times = grid(field, steps, kind)
    path = get_solver("heun")(field.bind(q), start[:, None], times, path=True).path
    return path[..., 0], times[:, None] * q


x, z = follow(PoissonField(exact), far)
home = (x[-1, :, None] - charges).abs().argmin(1)
print("lines that end at each charge:", home.bincount(minlength=4).tolist(), "of", COUNT)
torch.testing.assert_close(home.bincount(minlength=4).double() / COUNT, weights)

# %% Field lines of four charges, near: tangled, and far: as those of one charge at the mean
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
for ax, view in zip(axes, (6.0, 24.0), strict=True):
    for i in range(COUNT):
        ax.plot(x[:, i], z[:, i], color=COLOURS[home[i]], lw=1.2)
    ax.scatter(charges, 0 * charges, s=900 * weights, c=COLOURS, zorder=3, clip_on=False)
    ax.set(xlim=(-view, view), ylim=(0, 1.1 * view), aspect="equal", xlabel="x", ylabel="z")
for angle in angles.tolist():
    axes[1].axline((mean, 0), slope=math.tan(angle), color=INK, lw=0.5, dashes=(4, 8))
axes[0].set_title("Near: each charge catches its share")
axes[1].set_title("Far: lines of one charge at the mean (dashed)")
plt.show()

# %% [markdown]
# **(a)** Lines never cross: each point has one direction of the field. They could touch only where
# $E = 0$, and $E_z > 0$ everywhere above the data. **(b)** No. The line from the middle has half
# of all lines to its left. Count them: 45 % go to the charge at $-3$, the next 10 % to that at
# $-1$, and so does the line from the middle. The charge at 0.5 is nearer.

# %%
middle = int((angles - math.pi / 2).abs().argmin())  # the line from above the mean
ends_at, nearest = charges[home[middle]], charges[(charges - mean).abs().argmin()]
print(f"the line from above the mean ends at {ends_at:g}; nearest to the mean is {nearest:g}")
assert (home.diff() <= 0).all()  # in order: the first line is the one on the right
assert float(ends_at) == -1.0 and float(nearest) == 0.5

# %% [markdown]
# ## The prior
#
# From far away all is one charge, and even angles are even shares. Look at the line $z = z_{max}$,
# a plane far above the data. The line at angle $\theta$ meets it at $x = z_{max} / \tan \theta$.
# With $\theta$ uniform on $(0, \pi)$, the density of $x$ is $\frac{1}{\pi} |d \theta / dx|$:
#
# $$p(x) = \frac{1}{\pi} \frac{z_{max}}{x^2 + z_{max}^2},$$
#
# the **Cauchy law**. It is the Student-t law with one degree of freedom, so the prior of the exact
# field must be the same. Its tails are so heavy that it has no mean, which is why diffode starts
# on the half circle where it can.

# %% The prior of a Poisson flow in one dimension: the Cauchy law, from even angles
top = 40.0
by_angle = top / torch.tan(angles)
ticks = torch.linspace(-200, 200, 401, dtype=torch.float64)
cauchy = top / (math.pi * (ticks**2 + top**2))
prior = StudentT(dof=1).at(top).log_prob(ticks[:, None]).exp()
torch.testing.assert_close(prior, cauchy)
figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
ax.plot(ticks, cauchy, color=BLUE, lw=2, label="Cauchy density")
ax.plot(ticks, torch.exp(-(ticks**2) / 2 / top**2) / top / 2.5066, color=ORANGE, label="normal")
ax.plot(by_angle, 0 * by_angle, "|", color=INK, ms=14, label="even angles")
ax.set(xlim=(-200, 200), xlabel="x on the line z = 40", ylabel="density")
ax.set_title("Even angles, seen on a plane, are Cauchy distributed")
ax.legend()
plt.show()

# %% [markdown]
# ## The whole picture without a solver
#
# **(c)** Yes. Let $F_z$ be the distribution function of the noisy data at height $z$: the share of
# probability to the left of $x$. The flow carries the law at one height to that at another, and
# its lines do not cross. So the share to the left of a line **stays what it is**:
#
# $$F_z(x) = \sum_k w_k \left( \frac12 + \frac1\pi \arctan \frac{x - y_k}{z} \right)
# = \text{constant along a line}.$$
#
# The field lines are the contour lines of $F$. In the language of electricity it is the flux
# beside the line (Gauss's law again); in that of statistics, a field line is a **quantile**.


# %%
def share(x, z):
    """The share of probability to the left of x at height z."""
    return (weights * (0.5 + torch.atan2(x[..., None] - charges, z[..., None]) / math.pi)).sum(-1)


drift = (share(x, z) - share(x[:1], z[:1])).abs().max()
print(f"along the lines of the solver the share changes by {drift:.1e} at most")
assert drift < (2e-3 if SMALL else 5e-4)

# %% Contours of the distribution function, drawn without a solver, with a solver's lines upon them
figure, ax = plt.subplots(figsize=(10, 5.0), layout="constrained")
across, up = torch.linspace(-6, 6, 601), torch.linspace(0.005, 6, 400)
grid_x, grid_z = torch.meshgrid(across.double(), up.double(), indexing="xy")
drawn = range(COUNT // 40, COUNT, COUNT // 20)
levels = share(x[0], z[0])[list(drawn)].sort().values
shares = share(grid_x, grid_z)
ax.contour(grid_x, grid_z, shares, levels=levels.tolist(), colors=BLUE, linewidths=1.6)
for i in drawn:
    ax.plot(x[:, i], z[:, i], color=ORANGE, lw=1.2, ls=(0, (3, 5)))
potential = -(weights * (((grid_x[..., None] - charges) ** 2 + grid_z[..., None] ** 2).log())).sum(
    -1
)
ax.contour(grid_x, grid_z, potential, levels=14, colors=PALE, linewidths=1.0, linestyles="-")
ax.scatter(charges, 0 * charges, s=900 * weights, c=INK, zorder=3, clip_on=False)
ax.set(xlim=(-6, 6), ylim=(0, 6), aspect="equal", xlabel="x", ylabel="z")
ax.set_title("Blue: contours of the share. Orange: a solver's lines. Grey: equal potential")
plt.show()

# %% [markdown]
# The grey lines of equal potential cross the field lines at right angles. (Share and potential are
# the two halves of one complex function, $\sum_k w_k \log(x + i z - y_k)$. That is special to the
# plane. The quantiles are special to data of one dimension.)
#
# ## Normal noise in the same half-plane
#
# Nothing in "share to the left" is about charges. For a diffusion with noise of standard deviation
# $\sigma$, put $\sigma$ on the vertical axis. Its lines are the quantiles of data with *normal*
# noise. Both families end at the same charges with the same shares. They differ in how they get
# there.

# %% Field lines of the same data with Cauchy noise and with normal noise
ve = Empirical(charges[:, None], VE(1e-3, far), weights=weights)


def share_normal(x, sigma):
    return (weights * torch.special.ndtr((x[..., None] - charges) / sigma[..., None])).sum(-1)


figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.5), layout="constrained", sharey=True)
names = {"Poisson flow: Cauchy noise, z": share, "Diffusion: normal noise, sigma": share_normal}
for ax, (name, of) in zip(axes, names.items(), strict=True):
    ax.contour(grid_x, grid_z, of(grid_x, grid_z), levels=levels.tolist(), colors=BLUE)
    ax.scatter(charges, 0 * charges, s=900 * weights, c=INK, zorder=3, clip_on=False)
    ax.set(xlim=(-6, 6), ylim=(0, 6), aspect="equal", title=name, xlabel="x")
    ax.set_ylabel("z" if of is share else "sigma")
plt.show()
path = get_solver("heun")(
    ve, 5 * far * angles.cos()[:, None], grid(ve, STEPS, "logsnr"), path=True
)
sigma = ve.schedule.sigma(path.times)[:, None].expand(-1, COUNT)
shares = share_normal(path.path[..., 0], sigma)
drift = (shares - shares[:1]).abs().max()
print(f"along the lines of the diffusion the share changes by {drift:.1e} at most")
assert drift < 2e-2

# %% [markdown]
# ## What to remember
#
# * Field lines do not cross, come evenly from far away, and share themselves out by the weights.
# * The prior on a plane far above is the Cauchy law; on a half circle it is the uniform law.
# * For numbers as data a field line is a quantile, whatever the noise. (In more dimensions a flow
#   is more than its marginal laws: many flows have the same $p_t$.)
#
# Sources: Su Jianlin, *Generative diffusion models, a ramble*, part 13 (kexue.fm, in Chinese); Xu
# et al. (2022), *Poisson flow generative models*, arXiv:2209.11178.
#
# ## Exercises
#
# 1. With a single charge the lines are straight. How many Euler steps does the ODE need?
# 2. Start at a radius of 4 instead of 200. How wrong are the shares? And about 0 instead of the
#    mean?
# 3. Steps equal in $z$, or in $\log z$: which follows the lines more closely?
#
# ## Answers
#
# **1.** One. On a straight line to the charge, $dx/dz$ does not change.

# %%
one = Empirical(torch.tensor([[0.7]], dtype=torch.float64), Karras(1e-3, far), StudentT(dof=1))
start = torch.tensor([[55.0]], dtype=torch.float64)
end = get_solver("ddim")(one, start, grid(one, 1)).x
print(f"after one step from z = 200 to z = 0.001: {float(end):.6f}")
assert abs(float(end) - (0.7 + (55.0 - 0.7) * 1e-3 / far)) < 1e-9

# %% [markdown]
# **2.** The share to the left of a starting point should be its angle over $\pi$. No solver is
# needed to see how far it is off.

# %%
even = 1 - angles / math.pi
for radius in (4.0, 40.0, 200.0):
    for name, middle in (("the mean", mean), ("0.5", 0.5)):
        found = share(middle + radius * angles.cos(), radius * angles.sin())
        print(f"radius {radius:g} about {name}: off by {(found - even).abs().max():.1e}")
    if radius == 4:
        assert (found - even).abs().max() > 0.03

# %% [markdown]
# **3.** Steps in $\log z$. The lines bend where $z$ is as small as the gaps between the charges;
# equal steps in $z$ pass that place in one jump.

# %%
for kind in ("native", "logsnr"):
    a, b = follow(PoissonField(exact), far, steps=40, kind=kind)
    error = (share(a, b) - share(a[:1], b[:1])).abs().max()
    print(f"40 steps of {kind}: the share changes by {error:.1e}")
assert error < 0.1
