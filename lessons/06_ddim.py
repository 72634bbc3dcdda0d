# %% [markdown]
# # Lesson 6. DDIM as an exponential integrator
#
# **Question.** A diffusion model learns a thousand noise levels. DDIM draws a sample in ten or
# twenty jumps through the same network. What does a jump do, and when is it exact?
#
# A data point $x_0$ becomes noise along the path $x_t = \alpha_t x_0 + \sigma_t n$ with
# $n \sim N(0, I)$. The model tells two averages at a noisy point: $E[x_0 | x_t]$, what the data
# may be, and $E[n | x_t]$, what the noise may be. DDPM goes down the levels one by one and adds
# fresh noise at each. DDIM (Song et al., 2021) keeps the two averages and changes the level at
# once, from $t$ to $s$:
#
# $$x_s = \alpha_s E[x_0 | x_t] + \sigma_s E[n | x_t].$$
#
# **Predict.** We compare DDIM with Euler's method on the same ODE, at the same times. Which one is
# more accurate (a) if the data are a single point? (b) if the data are a standard normal law? (c)
# if the data are two moons? All fields are exact formulas: every error is the solver's.

# %%
import os
from itertools import pairwise

import matplotlib.pyplot as plt
import torch

import diffode
from diffode import Rng
from diffode.data import load
from diffode.fields import VP, Empirical, Mixture, Rectified
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"  # set where the lessons are tested
BLUE, ORANGE, INK, PALE = "#2f6fb5", "#e07b39", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

law = load("moons").law
centres = law.means[::8]  # 64 small Gaussians along the two moons
equal, widths = torch.ones(len(centres)).double(), torch.full((len(centres),), law.std).double()
moons = Mixture(equal / equal.sum(), centres, widths, VP())
noise = moons.prior.sample((60 if SMALL else 200, 2), Rng(0), dtype=torch.float64)

# %% [markdown]
# ## One jump, written three ways
#
# The ODE of the path is $dx/dt = \dot{\alpha}_t E[x_0 | x_t] + \dot{\sigma}_t E[n | x_t]$, a dot
# being a slope in time. Put $E[x_0 | x_t] = (x_t - \sigma_t E[n | x_t]) / \alpha_t$ into it, and
# write $\rho = \sigma / \alpha$:
#
# $$\frac{dx}{dt} = \frac{\dot{\alpha}_t}{\alpha_t} x_t + \alpha_t \dot{\rho}_t E[n | x_t].$$
#
# The first term is linear and known. The second one needs the model. An **exponential integrator**
# solves the linear part exactly (here by the factor $\alpha_s / \alpha_t$; for a constant rate it
# would be an exponential) and approximates the rest alone:
#
# $$x_s = \frac{\alpha_s}{\alpha_t} x_t + \alpha_s \int_t^s \dot{\rho}_u E[n | x_u] du.$$
#
# Hold $E[n | x_u]$ at its value at $t$: the integral is $(\rho_s - \rho_t) E[n | x_t]$. That is
# DDIM. Divide by $\alpha_s$ and it is Euler's method for $y = x / \alpha$ with $\rho$ as the time:
# $dy/d\rho = E[n | x]$.

# %%
times = torch.tensor([0.7, 0.4], dtype=torch.float64)
(a, a_s), (rho, rho_s) = moons.schedule.alpha(times), moons.schedule.rho(times)
x0, n = moons.posterior(noise, times[0])
ddim = a_s * x0 + moons.schedule.sigma(times[1]) * n
exponential = a_s / a * noise + a_s * (rho_s - rho) * n
euler_in_rho = a_s * (noise / a + (rho_s - rho) * n)
library = get_solver("ddim")(moons, noise, times).x
gaps = [float((ddim - other).abs().max()) for other in (exponential, euler_in_rho, library)]
print("DDIM and the other ways differ by", gaps)
assert max(gaps) < 1e-11

# %% [markdown]
# ## Questions (a), (b) and (c)
#
# Both methods start from the same noise and use the same times. The error is the distance of their
# ends from the true ones; we take the median over the points. For normal data of mean $m$ and
# width $w$ the truth is a formula,
#
# $$x_s = \alpha_s m + (v_s / v_t) (x_t - \alpha_t m), \quad v_t^2 = \alpha_t^2 w^2 + \sigma_t^2.$$
#
# For the moons it is a solver with a tolerance of $10^{-8}$.


# %%
def euler(field, x, times):
    """Euler's method on dx/dt, the velocity of the field."""
    for now, then in pairwise(times):
        x = x + (then - now) * field.velocity(x, now)
    return x


def gaussian(mean, width):
    """The exact field of N(mean, width^2 I), and where its ODE leads the noise."""
    m = torch.full((1, 2), mean, dtype=torch.float64)
    field = Mixture(torch.ones(1).double(), m, torch.tensor([width]).double(), VP())
    ends = torch.tensor(field.span, dtype=torch.float64)
    a, b = field.schedule.alpha(ends), field.schedule.sigma(ends)
    v = ((a * width).square() + b.square()).sqrt()
    return field, a[1] * m + v[1] / v[0] * (noise - a[0] * m)


def truth(field, x):
    """Where the ODE leads, at the end of the path (its last small noise included)."""
    return diffode.decode(field, x, "dopri5", rtol=1e-8, atol=1e-8, final="none").x


def off(x, y):
    """The median distance of two sets of points."""
    return float((x - y).norm(dim=1).median())


# %%
laws = {"(a) one point": gaussian(1.0, 0.0), "(b) standard normal": gaussian(0.0, 1.0)}
laws["(c) two moons"] = (moons, truth(moons, noise))
steps, errors = [5, 10, 20, 40], {}
figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.6), sharey=True, layout="constrained")
for ax, (name, (field, end)) in zip(axes, laws.items(), strict=True):
    grids = [grid(field, k, "t2") for k in steps]
    found = {
        "Euler in t": [off(euler(field, noise, g), end) for g in grids],
        "DDIM": [off(get_solver("ddim")(field, noise, g).x, end) for g in grids],
    }
    for (method, values), colour, mark in zip(found.items(), (ORANGE, BLUE), "so", strict=True):
        shown = [max(v, 1e-9) for v in values]  # an exact method has rounding errors alone
        ax.loglog(steps, shown, color=colour, marker=mark, label=method)
        print(f"{name}, {method}: error {values[1]:.1e} with 10 steps, {values[3]:.1e} with 40")
    ax.loglog(steps, [2 / k for k in steps], color=INK, ls=":", label="slope of order 1")
    ax.set(title=name, xlabel="evaluations of the field", xticks=steps, xticklabels=steps)
    ax.minorticks_off()
    errors[name] = found
axes[0].set_ylabel("median error of the end")
axes[0].legend(loc="center right")
figure.suptitle("Each method is exact for one law, and of order 1 for others")
point, standard, moon = errors.values()
assert max(point["DDIM"]) < 1e-9 < min(point["Euler in t"])
assert max(standard["Euler in t"]) < 1e-9 < min(standard["DDIM"])
assert all(1.5 < values[1] / values[3] < 10 for values in moon.values())  # order 1: about 4

# %% [markdown]
# **Explanation.** (a) For a single data point the noise is known exactly:
# $n = (x_t - \alpha_t x_0) / \sigma_t$, and it is the same all along the path. DDIM holds constant
# what *is* constant, so one jump is enough. Euler's method holds the velocity constant, which
# changes with $\dot{\alpha}_t$ and $\dot{\sigma}_t$.
#
# (b) This schedule keeps standard normal data as they are: $\alpha^2 + \sigma^2 = 1$, the velocity
# is 0, and Euler's method has nothing to do. But $E[n | x_t] = \sigma_t x_t$ falls from $x$ to 0,
# so DDIM errs.
#
# (c) On the moons both are of order 1, and DDIM is *not* the better one here. **An integrator is
# good where the thing that it holds constant changes little:** for DDIM that is narrow data, for
# Euler's method in this $t$ it is data of standard deviation 1.
#
# Can we hold something that suits every width? The flow of $N(m, w^2 I)$ is a rotation by the
# angle $\theta = \arctan(\rho / w)$, and a step in this angle is exact for every $w$. This is what
# diffode's default solver, `trig`, does, with $w$ the standard deviation of the data.

# %%
half, end = gaussian(1.0, 0.5)
for name, options in {"ddim": {}, "trig": {"order": 1, "corrected": False}}.items():
    error = off(get_solver(name, **options)(half, noise, grid(half, 3, "t2")).x, end)
    print(f"N((1, 1), 0.5^2), 3 steps of {name}: error {error:.0e}")
    assert (error < 1e-9) == (name == "trig")

# %% [markdown]
# **Look at what is held.** What $E[n | x_t]$ changes within a step is the error of DDIM.

# %%
times = grid(moons, 200, "logsnr")
path = get_solver("trig")(moons, noise[:3], times, path=True).path
held = torch.stack([moons.noise_part(x, now)[:, 0] for x, now in zip(path, times, strict=True)])
rho, stairs = moons.schedule.rho(times), moons.schedule.rho(grid(moons, 10, "t2"))
k = (rho.log()[None] - stairs.log()[:, None]).abs().argmin(1)
figure, ax = plt.subplots(figsize=(12, 5), layout="constrained")
for row in range(3):
    ax.semilogx(rho, held[:, row], color=BLUE, lw=2)
    ax.step(rho[k], held[k, row], where="post", color=ORANGE, lw=1.4, ls="--")
ax.invert_xaxis()
ax.set(xlabel="noise level rho = sigma / alpha", ylabel="first coordinate of E[n | x]")
ax.set_title(
    "The expected noise on three paths: constant in much noise, bending once the data show"
)
ax.legend(["exact", "held by 10 steps of DDIM"])
moves = (held[1:] - held[:-1]).abs().mean(1)  # in each of the equal steps of log rho
early, middle = float(moves[rho[1:] > 20].mean()), float(moves[rho[1:] < 3].mean())
print(f"change of E[n | x] in a step of log rho: {early:.5f} above 20, {middle:.5f} below 3")
assert middle > 10 * early

# %% [markdown]
# **Explanation.** At high noise (left) the noisy point is almost all noise, and $E[n | x_t]$ is
# known and constant. Around $\rho = 1$ and below, the point decides which part of which moon it
# goes to. There a constant is soon wrong, and most of the steps should be there.
#
# ## Better than holding: a line through two values
#
# Put a straight line in $\rho$ through the last *two* values under the integral. The method then
# has order 2, still with one evaluation a step. With $h = \rho_s - \rho_t$ and the step before it
# of length $h_0$:
#
# $$y_s = y_t + h \left( (1 + r) E[n | x_t] - r E[n | x_{before}] \right), \quad r = h / (2 h_0).$$
#
# DEIS and DPM-Solver do this, with a line in other variables.


# %%
def second_order(field, x, times):
    """The exponential integrator with a line through the last two values of E[n | x]."""
    alpha, rho = field.schedule.alpha(times), field.schedule.rho(times)
    y, before = x / alpha[0], 0
    for k in range(len(times) - 1):
        n, h = field.noise_part(alpha[k] * y, times[k]), rho[k + 1] - rho[k]
        r = 0 if k == 0 else h / (rho[k] - rho[k - 1]) / 2
        y, before = y + h * ((1 + r) * n - r * before), n
    return alpha[-1] * y


steps, end = [10, 20, 40, 80], laws["(c) two moons"][1]
grids = [grid(moons, k, "t2") for k in steps]
found = {
    "DDIM: a constant": [off(get_solver("ddim")(moons, noise, g).x, end) for g in grids],
    "a line, in rho": [off(second_order(moons, noise, g), end) for g in grids],
    "diffode's default": [off(get_solver()(moons, noise, g).x, end) for g in grids],
}
figure, ax = plt.subplots(figsize=(12, 5), layout="constrained")
for (name, values), colour, mark in zip(found.items(), (BLUE, ORANGE, INK), "os^", strict=True):
    ax.loglog(steps, values, color=colour, marker=mark, label=name)
    print(f"{name}: error {values[1]:.1e} with 20 steps, {values[3]:.1e} with 80")
ax.set(xlabel="evaluations of the field", ylabel="median error of the end")
ax.set(xticks=steps, xticklabels=steps, title="Two moons: the same evaluations, used better")
ax.minorticks_off()
ax.legend()
constant, line, best = (values[3] for values in found.values())
assert line < constant / 4 and best < line

# %% [markdown]
# ## What randomness changes, and what it cannot
#
# DDIM is one of a family. With $\eta$ from 0 to 1, a part $e$ of the noise is drawn anew as $z$:
#
# $$x_s = \alpha_s E[x_0 | x_t] + \sqrt{\sigma_s^2 - e^2} E[n | x_t] + e z,$$
#
# $$e = \eta \sigma_s \sqrt{1 - \rho_s^2 / \rho_t^2}.$$
#
# The squares add up to $\sigma_s^2$. So if the true $x_0$ and $n$ stood there, $x_s$ would be
# $\alpha_s x_0$ plus noise of exactly $\sigma_s$, for *every* $\eta$: the law of $x_s$ cannot
# change. What changes is how much $x_s$ varies for one given $x_t$. $\eta = 1$ is DDPM's sampler.

# %%
many = 400 if SMALL else 1000
start = moons.prior.sample((many, 2), Rng(1), dtype=torch.float64)
real, times = moons.sample(many, Rng(2)).double(), grid(moons, 100, "t2")
whole = float(real.var(0).sum())
figure, axes = plt.subplots(2, 3, figsize=(12, 5.8), sharex=True, sharey=True)
for column, eta in enumerate((0.0, 0.5, 1.0)):
    solver = get_solver("ddim", eta=eta)
    one = solver(moons, noise[:1].expand(many, 2), times, rng=Rng(3)).x
    every = solver(moons, start, times, rng=Rng(3)).x
    spread, total = float(one.var(0).sum()), float(every.var(0).sum())
    for ax, x, colour in zip(axes[:, column], (one, every), (ORANGE, BLUE), strict=True):
        ax.scatter(*real.T, s=3, color=PALE)
        ax.scatter(*x.T, s=40 if x is one and eta == 0 else 4, color=colour)
        ax.set(aspect="equal", title=f"eta = {eta:g}, {'one start' if x is one else 'all starts'}")
    print(f"eta {eta:g}: variance from one start {spread:.2f}, from all starts {total:.2f}")
    assert spread < 1e-20 if eta == 0 else spread > 0.3 * whole
    assert abs(total / whole - 1) < 0.15 and float((every - real).mean(0).norm()) < 0.4
figure.suptitle(
    "Samples over data (grey): eta changes the spread of one start, not the law of all"
)
print(f"the data have variance {whole:.2f}")

# %% [markdown]
# **What to remember.** DDIM is Euler's method in $x / \alpha$ and $\sigma / \alpha$, for any
# noise. It is as good as $E[n | x]$ is constant; a line in place of the constant gives the next
# order.
#
# ## Exercises
#
# 1. Rectified flow has $\alpha = 1 - t$, $\sigma = t$. Show that DDIM and Euler in $t$ agree.
# 2. A Poisson flow (PFGM) has Student-t noise of one degree of freedom. Is DDIM still of order 1?
#
# ## Answers

# %%
# 1. (1 - s) x0 + s n = x + (s - t) (n - x0), and n - x0 is the velocity: the same step.
straight = Mixture(equal / equal.sum(), centres, widths, Rectified())
times = grid(straight, 10)
gap = off(get_solver("ddim")(straight, noise, times).x, euler(straight, noise, times))
print(f"rectified flow: DDIM and Euler in t differ by {gap:.0e}")
assert gap < 1e-10

# %%
# 2. Yes, or better: nothing in the derivation asked for normal noise.
poisson = Empirical(load("moons").train[:200].double(), VP(), StudentT(1))
x = poisson.prior.sample(noise.shape, Rng(0), max_radius=3, dtype=torch.float64)
end, ddim = truth(poisson, x), get_solver("ddim")
few, more = (off(ddim(poisson, x, grid(poisson, k, "t2")).x, end) for k in (20, 80))
print(f"Poisson flow: DDIM's error is {few:.1e} with 20 steps and {more:.1e} with 80")
assert few / more > 2
