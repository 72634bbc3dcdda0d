# %% [markdown]
# # Lesson 7. A GAN as particles that move
#
# **Question.** A GAN trains two networks against each other. A generator makes samples, and a
# critic tells them from data. Where is the flow in that?
#
# Forget the generator for a moment and keep its samples. Call them **particles**, with the density
# $q$; the data have the density $p$. The best critic of real and made points is the log-ratio
#
# $$d(x) = \log p(x) - \log q(x).$$
#
# It is high where particles are too rare. So let each particle climb it: $dx/dt = \nabla d(x)$.
# Time runs up here, as training does.
#
# **Predict.** (a) Does every small step bring $q$ nearer to $p$? (b) GANs have several losses.
# Which of them moves particles that begin far away? (c) A generator must learn the motion. What
# happens if the critic is not renewed while it does? (d) Two players take steps of gradient
# descent. Do they come to rest?

# %%
import math
import os
from itertools import pairwise

import matplotlib.pyplot as plt
import torch

from diffode import Rng
from diffode.analysis import GameFlow
from diffode.fields import GaussianFlow
from diffode.fields.divergences import get_divergence

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"  # set where the lessons are tested
COUNT = 200 if SMALL else 600
BLUE, ORANGE, GREEN, INK, PALE = "#2f6fb5", "#e07b39", "#2a8a6d", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

MEAN, STD = 1.0, 0.7  # of the data, a normal law on the line
line = torch.linspace(-5, 4, 400, dtype=torch.float64)


def normal(x, mean, std):
    """The log-density of a normal law, without its constant."""
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std)


# %% [markdown]
# ## Particles under the exact critic
#
# Let the particles begin as $N(0, 1)$ and the data be $N(1, 0.7^2)$. While $q$ is the normal law
# $N(m, s^2)$, the slope of the critic is linear,
#
# $$\nabla d = \frac{x - m}{s^2} - \frac{x - 1}{0.7^2},$$
#
# so $q$ stays normal, and `GaussianFlow` knows $m$ and $s$ at every time. The particles take
# small steps, each with the critic of its moment.

# %%
one = torch.ones(1, dtype=torch.float64)
flow = GaussianFlow(MEAN * one, STD * one)
start = Rng(0).normal("particles", (COUNT, 1), torch.float64)
points, step, seen, lost = start.clone(), 0.002, {0.0: start.clone()}, []
for k in range(500):
    m, s = (float(v) for v in flow.law(k * step, points))
    lost.append((s**2 + (m - MEAN) ** 2) / (2 * STD**2) - 0.5 + math.log(STD / s))  # KL(q, p)
    points = points + step * ((points - m) / s**2 - (points - MEAN) / STD**2)
    if k + 1 in (50, 150, 500):
        seen[(k + 1) * step] = points.clone()

figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.4), layout="constrained")
axes[0].fill_between(line, normal(line, MEAN, STD).exp() / 2.507, color=PALE, label="data")
for (t, x), colour in zip(seen.items(), (INK, BLUE, GREEN, ORANGE), strict=True):
    heights = torch.histc(x, 40, -4, 4) / COUNT / 0.2
    axes[0].stairs(
        heights.numpy(), torch.linspace(-4, 4, 41).numpy(), color=colour, label=f"t = {t:g}"
    )
axes[0].set(xlim=(-4, 4), xlabel="x", ylabel="density", title="Particles on their way")
axes[0].legend()
axes[1].plot([k * step for k in range(500)], lost, color=INK)
axes[1].set(yscale="log", xlabel="t", ylabel="KL(q, p), nats", title="The divergence falls")
gap = float((points - flow.move(start, 1.0)).abs().max())
print(f"largest gap to the exact motion after 500 steps: {gap:.4f}")
assert gap < 0.01 and all(b < a for a, b in pairwise(lost))

# %% [markdown]
# **Explanation.** (a) Yes. By the continuity equation $\partial_t q = -\operatorname{div}(q v)$,
# a velocity $v$ changes the divergence at the rate
#
# $$\frac{d}{dt} KL(q, p) = - E_q[v \cdot \nabla d].$$
#
# For $v = \nabla d$ this is $-E_q |\nabla d|^2$. Let us check the number at $t = 0$.

# %%
m, s = 0.0, 1.0
slope = (start - m) / s**2 - (start - MEAN) / STD**2
a, b = 1 / s**2 - 1 / STD**2, MEAN / STD**2 - m / s**2  # the slope is a x + b
rate = -(a**2 * s**2 + (a * m + b) ** 2)
measured = (lost[1] - lost[0]) / step
print(f"dKL/dt at t = 0: formula {rate:.3f}, from two steps {measured:.3f}")
assert abs(measured / rate - 1) < 0.02
assert torch.allclose(slope, a * start + b)

# %% [markdown]
# ## Losses are clocks
#
# A GAN's loss $-h(d)$ gives the velocity $\nabla h(d) = h'(d) \nabla d$. The direction is the same
# for every loss. Only the speed differs, by the factor $h'(d)$. Far from the data $d$ is very
# negative: there the critic is sure that a point is made.
#
# The particles' density is not normal any more, so we estimate it from the particles themselves,
# by a small bump at each (a kernel density).


# %%
def climb(x, h, width=0.3):
    """The velocity h'(d) grad d, with q from the particles and p known."""
    apart = (x[:, None] - x[None, :]) / width
    bumps = torch.exp(-0.5 * apart**2)
    log_q = torch.log(bumps.mean(1) / width)
    slope_q = -(bumps * apart).sum(1) / bumps.sum(1) / width
    d = normal(x, MEAN, STD) - log_q
    return h.slope(d) * (-(x - MEAN) / STD**2 - slope_q)


names = {"logit": BLUE, "ns": GREEN, "vanilla": ORANGE, "kl": INK}
far = 0.5 * start[:200, 0] - 4.0
levels = torch.linspace(-15, 3, 200, dtype=torch.float64)
figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.4), layout="constrained")
ends = {}
for name, colour in names.items():
    h, x, means = get_divergence(name), far.clone(), []
    axes[0].plot(levels, h.slope(levels), color=colour, label=name)
    for _ in range(200):
        means.append(float(x.mean()))
        x = x + 0.02 * climb(x, h)
    style = "--" if name == "kl" else "-"  # it lies over vanilla
    axes[1].plot([0.02 * k for k in range(200)], means, style, color=colour, label=name)
    ends[name] = float(x.mean())
axes[0].set(yscale="log", ylim=(1e-6, 30), xlabel="critic d", ylabel="speed h'(d)")
axes[0].set_title("How fast a loss moves a particle")
axes[1].axhline(MEAN, color=PALE, zorder=0)
axes[1].set(
    xlabel="t", ylabel="mean of the particles", title="200 particles from -4; the data at 1"
)
axes[0].legend()
print({name: round(end, 2) for name, end in ends.items()})
assert abs(ends["logit"] - MEAN) < 0.1 and abs(ends["ns"] - MEAN) < 0.1
assert ends["vanilla"] < -3.5 and ends["kl"] < -3.5

# %% [markdown]
# **Explanation.** (b) With the first GAN's own loss (`vanilla`) the speed falls like $e^d$: a
# particle that the critic knows to be made does not move. This is the *vanishing gradient*. The
# non-saturating loss (`ns`) and the plain logit have $h' = 1$ far away. All of them come to rest
# where $q = p$, and at the same place a particle heads the same way; they differ in the clock.
#
# ## A generator learns the step
#
# A generator $g$ cannot move its samples one by one. It learns to make the moved ones: with
# $x = g(z)$, minimise $|g(z) - (x + \epsilon \nabla d(x))|^2$. Its first step of descent has the
# direction of one on the GAN's loss $-d(g(z))$. Take a generator of two numbers, $g(z) = m + s z$.

# %%
z = start[:, 0]
numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 1.1)]
made, eps = numbers[0] + numbers[1] * z, 0.1
critic = normal(made, MEAN, STD) - normal(made, 0.2, 1.1)  # of these samples
(up,) = torch.autograd.grad(critic.sum(), made, retain_graph=True)
regression = (made - (made + eps * up).detach()).square().mean()
one_way = torch.autograd.grad(regression, numbers, retain_graph=True)
other = torch.autograd.grad(-critic.mean(), numbers)
print(
    "gradients:",
    [f"{float(g):.4f}" for g in one_way],
    [f"{float(2 * eps * g):.4f}" for g in other],
)
assert all(abs(g - 2 * eps * k) < 1e-12 for g, k in zip(one_way, other, strict=True))

# %% [markdown]
# That holds for one small step. Now keep the critic of the first moment, $d_0$, and let particles
# climb it for long, beside those whose critic is renewed.

# %%
fresh, kept = [(0.0, 1.0)], start.clone()
stale = [(float(kept.mean()), float(kept.std()))]
for k in range(1500):
    kept = kept + step * (kept - (kept - MEAN) / STD**2)  # the slope of d_0, for m = 0 and s = 1
    stale.append((float(kept.mean()), float(kept.std())))
    fresh.append(tuple(float(v) for v in flow.law((k + 1) * step, kept)))
top = MEAN / STD**2 / (1 / STD**2 - 1)  # where the slope of d_0 is 0
times = [k * step for k in range(1501)]
figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.2), layout="constrained")
for ax, k, title, goal in zip(axes, (0, 1), ("Mean", "Width"), (MEAN, STD), strict=True):
    ax.axhline(goal, color=PALE, label="data")
    ax.plot(times, [v[k] for v in fresh], color=BLUE, label="critic renewed")
    ax.plot(times, [v[k] for v in stale], color=ORANGE, label="critic kept")
    ax.set(xlabel="t", title=f"{title} of the particles")
axes[0].legend()
print(f"critic kept: mean {stale[-1][0]:.3f}, width {stale[-1][1]:.3f}; its top is at {top:.3f}")
assert abs(stale[-1][0] - top) < 0.1 and stale[-1][1] < 0.06
assert abs(fresh[-1][0] - MEAN) < 0.01 and abs(fresh[-1][1] - STD) < 0.01

# %% [markdown]
# **Explanation.** (c) A kept critic has one top, and everybody goes there: *mode collapse*.
# Nothing holds particles apart but the part $-\log q$ of the critic, which must follow them. So
# GANs alternate short steps.
#
# ## Two players
#
# The critic learns too. The smallest GAN (Mescheder et al., 2018) has a generator of one point
# $g$, data at 0 and a critic $c x$. The players follow $dg/dt = c$ and $dc/dt = -g$: circles about
# $(0, 0)$. We solve this ODE of the parameters in three ways.


# %%
def play(method, h, count, regulariser=0.0):
    """The path of the two players from (1, 0)."""
    g, c = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, 0.0))
    game = GameFlow([lambda: -c * g, lambda: c * g], [[g], [c]], method, h, regulariser)
    path = [(1.0, 0.0)]
    for _ in range(count):
        game.step()
        path.append((g.item(), c.item()))
    return path


h, count = 0.2, 80
ways = {"Euler": play("euler", h, count), "RK4": play("rk4", h, count)}
ways["Euler, gradient penalty"] = play("euler", h, count, 0.5)
figure, ax = plt.subplots(figsize=(12.5, 5.6), layout="constrained")
for (name, path), colour in zip(ways.items(), (ORANGE, BLUE, GREEN), strict=True):
    ax.plot(*zip(*path, strict=True), color=colour, marker=".", lw=1, label=name)
ax.set(aspect="equal", xlabel="generator g", ylabel="critic c", title="80 steps of 0.2")
ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
radius = {name: math.hypot(*path[-1]) for name, path in ways.items()}
print({name: round(r, 3) for name, r in radius.items()})
assert math.isclose(radius["Euler"], (1 + h**2) ** (count / 2))
assert abs(radius["RK4"] - 1) < 1e-3 and radius["Euler, gradient penalty"] < 0.1

# %% [markdown]
# **Explanation.** (d) Not with Euler, which is what descent is: each step leaves the circle by the
# factor $\sqrt{1 + h^2}$. A better solver stays on it; a penalty on the gradient adds friction and
# ends at rest. What looked like a fault of GANs is partly that of a solver.
#
# ## Exercises
#
# 1. After how many steps of $h = 0.2$ has Euler doubled the radius? And of $h = 0.1$, in time?
# 2. Which of the divergences `hellinger` and `pearson` moves a particle at $d = -10$ faster?
# 3. With the kept critic, when is the mean right? Is the width right then?
#
# ## Answers

# %%
# 1. n = 2 log 2 / log(1 + h^2). Half the step takes twice the time.
for h in (0.2, 0.1):
    n = math.ceil(2 * math.log(2) / math.log(1 + h**2))
    radii = [math.hypot(*place) for place in play("euler", h, n)]
    print(f"h = {h}: {n} steps, time {n * h:.0f}")
    assert radii[-1] >= 2 > radii[-2]

# %%
# 2. hellinger: its speed falls like exp(d / 2), that of pearson like exp(2 d).
low = torch.tensor([-10.0, -12.0], dtype=torch.float64)
speeds = {name: get_divergence(name).slope(low) for name in ("hellinger", "pearson")}
print({name: f"{float(v[0]):.1e}" for name, v in speeds.items()})
for name, power in (("hellinger", 0.5), ("pearson", 2.0)):
    assert math.isclose(float((speeds[name][0] / speeds[name][1]).log()), 2 * power, rel_tol=1e-6)

# %%
# 3. Early, and no: stopping early does not mend a critic that is not renewed.
k = next(k for k, (mean, _) in enumerate(stale) if mean >= MEAN)
print(f"at t = {times[k]:.2f} the mean is {stale[k][0]:.2f} and the width {stale[k][1]:.2f}")
assert stale[k][1] < 0.6
