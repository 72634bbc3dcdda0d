# %% [markdown]
# # Lesson 5. Fokker-Planck, and the probability flow, seen on a histogram
#
# **Question.** Diffusion turns data into noise by random kicks. Each particle jitters. Yet the
# *probability flow* moves particles smoothly, without any randomness, and is said to have the same
# law $p_t$ at every time. How can a smooth motion have the law of a jittering one?
#
# **Predict.** We start 20,000 particles at the same data, and move them by three rules: full
# noise, half the noise, none.
#
# * (a) Do the three histograms agree at every time, at the end only, or never?
# * (b) Does a single particle go the same way under the three?
# * (c) Take particles that end far on the right. Did they start on the right?

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode import Rng, sample
from diffode.fields import VP, Mixture

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"
COUNT, STEPS = (4000, 400) if SMALL else (20000, 1000)
BLUE, ORANGE, GREEN, INK, PALE = "#0072B2", "#E69F00", "#009E73", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

parts = ([0.5, 0.3, 0.2], [[-1.5], [0.6], [2.2]], [0.25, 0.35, 0.15])
field = Mixture(*(torch.tensor(p, dtype=torch.float64) for p in parts), VP())
start = field.sample(COUNT, Rng(0)).double()
line = torch.linspace(-4, 4, 801, dtype=torch.float64)[:, None]


def density(x, t):
    """The exact p_t at points (B, 1)."""
    return field.log_marginal(x, t).exp()


# %% [markdown]
# ## Random kicks
#
# The forward process of a diffusion model is a stochastic differential equation (SDE): in a short
# time $dt$ a particle drifts by $f_t(x) \, dt$ and gets a normal kick of variance $g_t^2 \, dt$,
#
# $$dx = f_t(x) \, dt + g_t \, dw.$$
#
# For a path $x_t = \alpha_t x_0 + \sigma_t n$ the two are
# $f_t(x) = \frac{\dot{\alpha}_t}{\alpha_t} x$ and $g_t^2 = 2 \sigma_t^2 \frac{d}{dt} \log
# \frac{\sigma_t}{\alpha_t}$ (a dot is the slope in time).


# %%
def rates(t):
    """The drift per x, alpha' / alpha, and the variance of the kicks per time, g squared."""
    alpha, sigma, d_alpha, d_sigma = field.schedule.rates(torch.tensor(t, dtype=torch.float64))
    return float(d_alpha / alpha), float(2 * sigma * (d_sigma - sigma * d_alpha / alpha))


for t in (0.01, 0.5, 1.0):
    print(f"t = {t:g}: alpha'/alpha = {rates(t)[0]:.2f}, g^2 = {rates(t)[1]:.2f}")
assert abs(rates(0.5)[1] + 2 * rates(0.5)[0]) < 1e-9  # VP: g^2 = -2 alpha' / alpha

# %% [markdown]
# ## The equation of the histogram
#
# Take any smooth function $\varphi$ and ask how its mean over all particles changes. In a short
# time it changes by $\partial \varphi \, dx + \frac12 \partial^2 \varphi \, dx^2$, with $\partial$
# for the slope in $x$. The mean kick is 0, and that of its square is $g^2 dt$. So
#
# $$\frac{d}{dt} E[\varphi(x_t)] = E\left[ f \, \partial \varphi +
# \frac{g^2}{2} \partial^2 \varphi \right].$$
#
# Write the means as integrals over $p_t$ and integrate by parts, until no derivative is left on
# $\varphi$. As $\varphi$ is arbitrary, this is the **Fokker-Planck equation**:
#
# $$\frac{\partial p_t}{\partial t} = -\frac{\partial}{\partial x} (f_t p_t) +
# \frac{g_t^2}{2} \frac{\partial^2 p_t}{\partial x^2}.$$
#
# The first part carries the histogram along, the second makes it flat. We know $p_t$ exactly, so
# we can look at each part.

# %% The parts of the Fokker-Planck equation: what the drift and the kicks change, and their sum
t, dt, dx = 0.15, 1e-4, 1e-3
f, g2 = rates(t)
change = (density(line, t + dt) - density(line, t - dt)) / (2 * dt)
flux = [f * (line[:, 0] + s) * density(line + s, t) for s in (-dx, dx)]
drift = -(flux[1] - flux[0]) / (2 * dx)
left, here, right = (density(line + s, t) for s in (-dx, 0.0, dx))
kicks = g2 / 2 * (left - 2 * here + right) / dx**2
residual = float((change - drift - kicks).abs().max() / change.abs().max())
print(f"largest residual of the equation, relative: {residual:.0e}")
assert residual < 1e-4 and float(drift.abs().max()) > 0.1 < float(kicks.abs().max())

figure, ax = plt.subplots(figsize=(9.5, 4.4), layout="constrained")
ax.fill_between(line[:, 0], here, color=PALE, label="density $p_t$")
ax.plot(line[:, 0], drift, color=BLUE, ls="--", label="by the drift")
ax.plot(line[:, 0], kicks, color=ORANGE, ls="-.", label="by the kicks")
ax.plot(line[:, 0], drift + kicks, color=GREEN, lw=5, alpha=0.4, label="their sum")
ax.plot(line[:, 0], change, color=INK, lw=1.2, label="the change of $p_t$")
ax.set(xlim=(-3, 3.5), xlabel="x", ylabel="change per unit of time")
ax.set_title(f"t = {t:g}: the peaks fall and the gaps fill")
ax.legend(ncols=2)
plt.show()

# %% [markdown]
# ## The trick: kicks as a drift
#
# The slope of a density is the density times the slope of its logarithm, the **score**:
# $\partial p = p \; \partial \log p$. So the second part of the equation can be written as a
# *drift*,
#
# $$\frac{g^2}{2} \frac{\partial^2 p}{\partial x^2}
# = \frac{\partial}{\partial x} \left( \frac{g^2}{2} \, \partial \log p \cdot p \right).$$
#
# Move a part of it over, as much as you like. For every $h_t \ge 0$ the equation is the same as
#
# $$\frac{\partial p}{\partial t} = -\frac{\partial}{\partial x} \left[ \left( f -
# \frac{g^2 - h^2}{2} \, \partial \log p \right) p \right] +
# \frac{h^2}{2} \frac{\partial^2 p}{\partial x^2}.$$
#
# This is the Fokker-Planck equation of *another* process, with kicks of size $h$. Same equation,
# same start: **same law at every time**. With $h = 0$ nothing random is left. That is the
# probability flow ODE.


# %%
def move(h, factor=0.5, seed=0):
    """The particles at times 0, 1 / STEPS, ..., 1, with noise h times g: (STEPS + 1, COUNT)."""
    noise = torch.Generator().manual_seed(seed)
    x, path = start, [start[:, 0]]
    for k in range(STEPS):
        f, g2 = rates((k + 0.5) / STEPS)
        score = field.score(x, (k + 0.5) / STEPS)
        kick = torch.randn(x.shape, generator=noise, dtype=x.dtype) if h else 0.0
        slope = f * x - factor * g2 * (1 - h * h) * score
        x = x + slope / STEPS + h * math.sqrt(g2 / STEPS) * kick
        path.append(x[:, 0])
    return torch.stack(path)


paths = {"h = g, the SDE": move(1.0), "h = g / 2": move(0.5), "h = 0, the ODE": move(0.0)}

# %% [markdown]
# ## The histograms
#
# Five times (columns), three amounts of noise (rows), and the exact $p_t$ as a line. The number is
# the largest distance between the distribution function of the particles and the exact one
# (Kolmogorov-Smirnov). Chance alone makes it larger than $1.95 / \sqrt{n}$ once in a thousand
# times; we allow that, and a little for the steps, which are finite.


# %%
def ks(x, t):
    """The Kolmogorov-Smirnov distance between particles (n,) and p_t."""
    alpha, sigma = (getattr(field.schedule, name)(torch.tensor(t)) for name in ("alpha", "sigma"))
    w, m, s = (torch.tensor(p, dtype=torch.float64).flatten() for p in parts)
    x = x.sort().values
    z = (x[:, None] - alpha * m) / ((alpha * s) ** 2 + sigma**2).sqrt()
    exact = torch.special.ndtr(z) @ w
    steps = torch.arange(len(x) + 1, dtype=torch.float64) / len(x)
    return float(torch.maximum((steps[1:] - exact).abs(), (steps[:-1] - exact).abs()).max())


# %% Histograms of particles at five times for three amounts of noise, with the exact density
moments, limit = (0.0, 0.05, 0.15, 0.3, 1.0), 1.95 / math.sqrt(COUNT) + 0.5 / STEPS**0.75
figure, axes = plt.subplots(3, 5, figsize=(11, 6.4), layout="constrained", sharex=True)
for row, (name, path), colour in zip(axes, paths.items(), (ORANGE, GREEN, BLUE), strict=True):
    for ax, t in zip(row, moments, strict=True):
        x = path[round(t * STEPS)]
        distance = ks(x, t)
        assert distance < limit, (name, t, distance)
        ax.hist(x.numpy(), bins=70, range=(-4, 4), density=True, color=colour, alpha=0.6)
        ax.plot(line[:, 0], density(line, max(t, 1e-6)), color=INK, lw=1.2)
        ax.set(yticks=[], xlim=(-4, 4), title=f"t = {t:g}, {distance:.3f}")
    row[0].set_ylabel(name)
plt.show()
print(f"largest distance allowed: {limit:.3f}")

# %% [markdown]
# **(a)** They agree at every time. Now the single particles.

# %% Six particles under each rule, over the exact density: jittering, less so, and smooth
figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.5), layout="constrained", sharey=True)
when = torch.arange(STEPS + 1) / STEPS
shade = torch.stack([density(line, max(t, 1e-6)) for t in when[:: STEPS // 100].tolist()], 1)
chosen = start[:, 0].sort().indices[COUNT // 12 :: COUNT // 6]
for ax, (name, path), colour in zip(axes, paths.items(), (ORANGE, GREEN, BLUE), strict=True):
    ax.imshow(
        shade.sqrt().numpy(), extent=(0, 1, -4, 4), origin="lower", aspect="auto", cmap="Greys"
    )
    ax.plot(when, path[:, chosen], color=colour, lw=1.2)
    ax.set(title=name, xlabel="t", ylim=(-3.5, 3.5))
axes[0].set_ylabel("x")
plt.show()

# %% [markdown]
# **(b)** No. The law is the same, the ways are not. With $h = 0$ particles never cross; each keeps
# its rank among all, so that the flow is the map of quantiles (lesson 3).
#
# ## Who ends where?
#
# Plot each particle's end against its start.

# %% The end of each particle against its start: independent under the SDE, a curve under the ODE
figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.3), layout="constrained", sharey=True)
for ax, (name, path), colour in zip(axes, paths.items(), (ORANGE, GREEN, BLUE), strict=True):
    ranks = torch.stack((path[0], path[-1])).argsort(1).argsort(1).double()
    kept = float(torch.corrcoef(ranks)[0, 1])
    print(f"{name}: correlation of the ranks at start and end {kept:.3f}")
    ax.scatter(path[0][:1500], path[-1][:1500], s=4, color=colour)
    ax.set(title=f"{name}\nrank correlation {kept:.2f}", xlabel="start")
    assert kept > 0.999 if "ODE" in name else kept < 0.5 and (kept < 0.08 or "SDE" not in name)
axes[0].set_ylabel("end")
plt.show()

# %% [markdown]
# **(c)** Under the ODE yes, always. Under the SDE the end knows nothing of the start. So the ODE
# is a *code*: it takes data to noise and back (`encode`, `decode`), with a density (`log_prob`).
# The SDE forgets: run backwards it also forgives, for fresh noise covers errors of earlier steps.
#
# ## What to remember
#
# * Fokker-Planck: drift carries the histogram, kicks flatten it.
# * Flattening is itself a drift, down the score. Hence a family of processes, one for each $h$,
#   with one law at every time. The SDE and the probability flow ODE are two of them.
# * Same laws do not mean same paths, nor the same pairs of start and end.
#
# Sources: Song et al. (2021), *Score-based generative modeling through SDEs*, arXiv:2011.13456,
# section 4.3 and appendix D; Su Jianlin, *Generative diffusion models, a ramble*, parts 5 and 6
# (kexue.fm, in Chinese). The derivation is in docs/learn/fokker-planck.md.
#
# ## Exercises
#
# 1. Forget the factor $1/2$: move by $f - g^2 \, \partial \log p$ without noise. What do you get?
# 2. Does the family go on beyond the SDE, with $h = 2 g$?
# 3. Backwards, from noise to data: which needs fewer steps, $h = 0$ or $h = g$?
#
# ## Answers
#
# **1.** Another law, far from $p_t$. So the test above is one that can fail.

# %%
wrong = move(0.0, factor=1.0)
distance = ks(wrong[round(0.3 * STEPS)], 0.3)
print(f"distance at t = 0.3: {distance:.2f}, allowed {limit:.3f}")
assert distance > 4 * limit

# %% [markdown]
# **2.** Yes. More kicks are undone by a drift *up* the score; steps must be smaller.

# %%
lively = move(2.0)
found = [ks(lively[round(t * STEPS)], t) for t in moments]
print("distances:", [round(v, 3) for v in found])
assert max(found) < 2 * limit + 0.01

# %% [markdown]
# **3.** The ODE. diffode's `euler-maruyama` is this family in reverse; its `eta` is $h / g$.

# %%
error = {}
for eta in (0.0, 1.0):
    for steps in (10, 40):
        x = sample(field, COUNT, "euler-maruyama", steps=steps, eta=eta, final="none").x
        error[eta, steps] = ks(x[:, 0].double(), 1e-3)
        print(f"eta = {eta:g}, {steps} steps: distance {error[eta, steps]:.3f}")
assert error[0.0, 10] < error[1.0, 10]
