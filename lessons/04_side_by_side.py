# %% [markdown]
# # Lesson 4. The same particles under five models
#
# **Question.** PFGM, VP diffusion, VE diffusion, rectified flow, and MonoFlow (a GAN as an ODE)
# all move a prior to the data by a velocity. We give all five the *same* particles, and exact
# velocities: no network, no training. Do the particles take the same way? Do they end at the same
# places?
#
# **Predict.** A particle starts at some point of the prior, up to the scale of that prior. Which
# of the five take it to the same sample?
#
# * (a) all of them, because all make the same data;
# * (b) none, because all have different velocities;
# * (c) some of them. Which?

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode import Rng, sample
from diffode.fields import VE, VP, Empirical, Karras, Mixture, MonoFlow, PoissonField, Rectified
from diffode.fields.ratios import ExactRatio, Frozen
from diffode.priors import StudentT
from diffode.solvers import get_solver
from diffode.viz import shown
from diffode.viz.trajectories import by_angle

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"
COUNT, STEPS, MARCH = (300, 60, 80) if SMALL else (800, 120, 240)
INK, PALE = "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
means = torch.tensor([[2.0, 0], [0, 2], [-2, 0], [0, -2]], dtype=torch.float64)
stds = torch.full((4,), 0.25, dtype=torch.float64)


def law(schedule, noise=None):
    """The exact field of four Gaussians on a path."""
    return Mixture(weights, means, stds, schedule, noise)


data = law(VE()).sample(COUNT, Rng(100)).double()

# %% [markdown]
# ## Four of them are one formula
#
# PFGM, VP, VE and rectified flow follow a path $x_t = \alpha_t x_0 + \sigma_t n$ from data to
# noise. Their velocity is its mean rate of change (a dot is the slope in time),
#
# $$f_t(x) = \dot{\alpha}_t \, E[x_0 | x_t = x] + \dot{\sigma}_t \, E[n | x_t = x].$$
#
# | model | $\alpha_t$ | $\sigma_t$ | noise $n$ |
# |---|---|---|---|
# | PFGM | 1 | $t$ | Student-t, one degree of freedom |
# | VP | falls to 0 | $\sqrt{1 - \alpha_t^2}$ | normal |
# | VE | 1 | grows to 80 | normal |
# | rectified flow | $1 - t$ | $t$ | normal |
#
# `sample` draws particle $i$ from the seed and from $i$ alone. So with one seed all start from one
# draw, each at the scale of its prior.

# %%
fields = {
    "PFGM": PoissonField(law(Karras(2e-3, 80.0), StudentT(dof=1))),
    "VP": law(VP()),
    "VE": law(VE(2e-3, 80.0)),
    "rectified": law(Rectified()),
}
flows = {
    name: sample(field, COUNT, "heun", steps=STEPS, seed=0, path=True)
    for name, field in fields.items()
}
ends = {name: flow.x.double() for name, flow in flows.items()}
first = flows["rectified"].path[0].double()
for name, flow in flows.items():
    x = flow.path[0].double()
    along = float(torch.nn.functional.cosine_similarity(x, first).median())
    print(f"{name:10} starts at length {x.norm(dim=1).median():.2f}, cosine {along:.4f}")
    assert along > 0.99

# %% [markdown]
# ## MonoFlow, whose velocity depends on its own particles
#
# A GAN's discriminator learns $d(x) = \log p(x) / q_t(x)$, data $p$ against samples $q_t$. In
# MonoFlow the samples climb it:
#
# $$\frac{dx}{dt} = \eta_t \, \nabla d(x) = \eta_t \, (\nabla \log p(x) - \nabla \log q_t(x)).$$
#
# The first part pulls to the data, the second pushes particles apart. No path and no schedule say
# what $q_t$ is: it is the law of the particles now. Here we need no network for it. Both laws are
# looked at through a little noise (as GANs do to stay stable), and through noise the law of 800
# particles is known: `Empirical(particles)`. The noise falls from 1.5 to 0.08, and the speed
# $\eta$ is half its square.

# %%
clock = VE(0.01, 5.0)
p = law(clock)


def critic(x, noise):
    """The exact log-ratio of data and particles, both with noise, and its time."""
    t = float(clock.time(torch.tensor(noise, dtype=torch.float64)))
    return ExactRatio(Frozen(p, t), Frozen(Empirical(x, clock), t)), t


x, march = first.clone(), [first.clone()]
for k in range(MARCH):
    noise = 1.5 * (0.08 / 1.5) ** (k / MARCH)
    d, t = critic(x, noise)
    climb = p.score(x, t) - d.q.law.score(x, t)  # the gradient of d
    if k == 0:
        torch.testing.assert_close(climb, MonoFlow(d).velocity(x, 0.0), rtol=1e-5, atol=1e-6)
    x = x + 0.5 * noise**2 * (240 / MARCH) * climb
    march.append(x)
ends["MonoFlow"], march = x, torch.stack(march)
divergence = [-float(critic(x, 0.5)[0](x, 0.0).mean()) for x in march[:: MARCH // 4]]
print("KL(q | p), through noise of 0.5:", [round(v, 3) for v in divergence])
assert divergence[0] > 1 and max(divergence[1:]) < 0.06

# %% [markdown]
# ## The ways
#
# Each line is a particle, coloured by the direction in which it starts: the same colour is the
# same particle in all panels. States with large noise would leave the picture, so they are shown
# divided by $\sqrt{\alpha_t^2 + \sigma_t^2 / s^2}$, with $s$ the spread of the data.

# %% Paths of the same particles under PFGM, VP, VE, rectified flow and MonoFlow, and the data
ways = {n: shown(fields[n], f.path.double(), f.times) for n, f in flows.items()}
ways["MonoFlow"] = march
colours = by_angle(first)
figure, axes = plt.subplots(2, 3, figsize=(11, 7.7), layout="constrained")
for ax, (name, way) in zip(axes.flat, ways.items(), strict=False):
    ax.scatter(*data.T, s=8, color=PALE)
    for i in range(100):
        ax.plot(*way[:, i].T, color=colours[i], lw=0.9)
    ax.scatter(*way[-1, :100].T, s=10, c=colours[:100], zorder=3)
    ax.set(title=name)
axes[1, 2].scatter(*data.T, s=8, color=INK)
axes[1, 2].set(title="data: 40, 30, 20 and 10 %")
for ax in axes.flat:
    ax.set(xlim=(-4.2, 4.2), ylim=(-4.2, 4.2), aspect="equal", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The ends, compared
#
# How far apart does the *same* particle end under two models? The median of that distance, for
# each pair:

# %% Median distance between the ends of the same particle, for each pair of models
names = list(ends)
apart = torch.tensor([[(ends[a] - ends[b]).norm(dim=1).median() for b in names] for a in names])
figure, ax = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
ax.imshow(apart.numpy(), cmap="Blues", vmin=0, vmax=0.5)
for i in range(5):
    for j in range(5):
        dark = apart[i, j] > 0.3
        text = f"{apart[i, j]:.3f}"
        ax.text(j, i, text, ha="center", va="center", color="white" if dark else INK)
ax.set(xticks=range(5), yticks=range(5), xticklabels=names, yticklabels=names)
ax.set_title("Distance between the ends of one particle")
plt.show()
one_noise, poisson, gan = apart[1:4, 1:4].max(), apart[0, 1:].min(), apart[4, :4].min()
assert one_noise < 0.01 and poisson > 0.1 and gan > 5 * one_noise

# %% [markdown]
# The answer is **(c)**: VP, VE and rectified flow take each particle to the *same* sample. They
# differ in the path, $\alpha_t$ and $\sigma_t$, but not in the noise. Divide the state by
# $\alpha_t$ and use $\rho = \sigma_t / \alpha_t$ as the clock; then all three are one ODE,
#
# $$y = x / \alpha_t, \qquad \frac{dy}{d\rho} = E[n \, | \, y, \rho],$$
#
# read on different clocks. (Small distances are left, because the three begin at different
# $\rho$.) PFGM has other noise, hence another ODE and another map. MonoFlow has no path at all. It
# comes near the three, as here it looks through falling normal noise too, not to the same place.
#
# ## One law, five maps
#
# All maps make the same data, though. Two checks: the shares of the four groups, and the mean
# log-density of the samples under the law of the data, beside that of real data. (That of MonoFlow
# is a little high: 800 particles, seen as little bumps, keep too close together.)

# %%
t_data = 0.0
real = float(law(VE(2e-3, 80.0)).log_marginal(data, t_data).mean())
print(f"{'data':10} shares 0.40 0.30 0.20 0.10, mean log-density {real:.2f}")
for name, x in ends.items():
    shares = torch.cdist(x, means).argmin(1).bincount(minlength=4) / COUNT
    level = float(law(VE(2e-3, 80.0)).log_marginal(x, t_data).mean())
    print(f"{name:10} shares", *(f"{s:.2f}" for s in shares), f"mean log-density {level:.2f}")
    error = (weights * (1 - weights) / COUNT).sqrt()
    assert ((shares - weights) / error).abs().max() < 4
    assert abs(level - real) < 0.4

# %% [markdown]
# ## At the same noise level
#
# Now stop all at the same $\rho = 4, 1, 1/2, 1/4$. VP, VE and rectified flow agree at every stage,
# not only at the end. MonoFlow has no $\rho$; it is stopped after 1, 4, 9 and 20 % of its steps.

# %% The same particles at four noise levels and at the end, under each model
levels = (4.0, 1.0, 0.5, 0.25)
figure, axes = plt.subplots(5, 5, figsize=(11, 11.4), layout="constrained")
for row, (name, way) in zip(axes, ways.items(), strict=True):
    if name in flows:
        schedule, times = fields[name].schedule, flows[name].times
        rho = schedule.sigma(times) / schedule.alpha(times).clamp_min(1e-12)
        stops = [int((rho.log() - math.log(level)).abs().argmin()) for level in levels]
    else:
        stops = [MARCH * k // 240 for k in (3, 9, 21, 48)]
    for ax, stop in zip(row, [*stops, -1], strict=True):
        ax.scatter(*way[stop, :300].T, s=5, c=colours[:300])
        ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
    row[0].set_ylabel(name)
for ax, level in zip(axes[0], levels, strict=False):
    ax.set_title(f"rho = {level:g}")
axes[0, 4].set_title("end")
plt.show()

# %% [markdown]
# ## What to remember
#
# * A model is a *map* from prior to data, and a *way* along it. The noise law makes the map;
#   the schedule is only a clock on the way.
# * Different maps can make the same data. A sample alone does not tell by which it was made.
# * MonoFlow's velocity depends on the law of its own particles. It needs no path, and no noise but
#   for stability, and it has to be learned stage by stage.
#
# Sources: Song et al. (2021), arXiv:2011.13456; Karras et al. (2022), arXiv:2206.00364; Liu et al.
# (2022), arXiv:2209.03003; Yi et al. (2023), *MonoFlow*, arXiv:2302.01075; Su Jianlin,
# *Generative diffusion models, a ramble*, parts 13, 15 and 19 (kexue.fm, in Chinese).
#
# ## Exercises
#
# 1. Show without any solver error that VP and VE are one ODE: take DDIM steps at the *same* twelve
#    values of $\rho$ with both, and compare $x / \alpha$.
# 2. PFGM++ has $D$ degrees of freedom. Does its map approach that of VE as $D$ grows? How fast?
# 3. Euler's method, ten steps, each model on its own clock: whose ends are best?
#
# ## Answers
#
# **1.** DDIM is Euler's method for $dy / d\rho$, so that the results agree to rounding.

# %%
rho = torch.logspace(math.log10(80.0), -2, 12, dtype=torch.float64)
results = []
for name in ("VP", "VE"):
    times = fields[name].schedule.time(rho)
    alpha = fields[name].schedule.alpha(times)
    start = 80.0 * alpha[0] * first
    results.append(get_solver("ddim")(fields[name], start, times).x / alpha[-1])
print(f"largest difference: {(results[0] - results[1]).abs().max():.0e}")
torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-7)

# %% [markdown]
# **2.** Yes: the distance falls about as $1/D$. Student-t noise with many degrees of freedom is
# nearly normal. Both start at the same points here, and take the same steps.

# %%
gaps = []
for dof in (8, 64, 512):
    plane = law(Karras(2e-3, 80.0), StudentT(dof=dof))
    start, at = 80.0 * first[:100], Karras(2e-3, 80.0).time(rho)
    one = get_solver("ddim")(plane, start, at).x
    two = get_solver("ddim")(law(Karras(2e-3, 80.0)), start, at).x
    gaps.append(float((one - two).norm(dim=1).median()))
    print(f"D = {dof}: median distance {gaps[-1]:.4f}")
assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]

# %% [markdown]
# **3.** The clock decides. PFGM's is $\sigma$ itself, from 80 down: nine of ten equal steps pass
# where nothing happens. VE's is $\log \sigma$: in a tenth of it $\sigma$ falls by 65 %, but an
# Euler step takes away 106 % of the noise at once. So `sample` chooses a grid and solver that fit.

# %%
for name, field in fields.items():
    few = sample(field, COUNT, "euler", steps=10, seed=0, grid="native", final="none").x.double()
    error = float((few - ends[name]).norm(dim=1).median())
    print(f"{name:10} Euler, 10 equal steps of its own clock: median error {error:.3f}")
    assert error < 0.2 if name in ("VP", "rectified") else error > 0.5
