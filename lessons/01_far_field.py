# %% [markdown]
# # Lesson 1. Four sources that attract, and what is seen of them from far away
#
# **Question.** Four bodies in the plane attract a particle, as gravity does. We let particles
# start very far away, in every direction equally often, and fall. Where do they end, and how
# many at each body?
#
# This is the picture that Poisson flows (PFGM) begin with. The bodies are the **data**. The far
# circle, where it is easy to draw a point, is the **prior**. The force is the **velocity** that
# moves one to the other.
#
# **Predict.** Body A has 40 % of the mass, B 30 %, C 20 % and D 10 %. A lies in the middle, the
# others shield it from three sides. Which share of the particles ends at A: less than 40 %,
# 40 %, or more? Write your answer down.

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode.fields import Field
from diffode.priors import Normal
from diffode.solvers import get_solver, grid

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"
COUNT, STEPS = (100, 300) if SMALL else (300, 1500)  # particles, and steps of the solver
NAMES, COLOURS = "ABCD", ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
GREY, INK = "#9aa0aa", "#1f2430"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

bodies = torch.tensor([[0.0, 0.0], [2.2, 0.6], [-1.2, 1.9], [-0.8, -2.0]], dtype=torch.float64)
masses = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
centre = masses @ bodies
print("centre of mass:", [round(v, 2) for v in centre.tolist()])

# %% [markdown]
# ## The force
#
# In three dimensions gravity falls with the square of the distance, because the force of one
# body spreads over a sphere, whose area grows with the square. In $N$ dimensions the area grows
# with $r^{N-1}$. So in the plane, $N = 2$, a force that only *spreads*, and is lost nowhere, is
#
# $$F(x) = \sum_k w_k \frac{y_k - x}{|y_k - x|^N}, \qquad N = 2,$$
#
# with $y_k$ the place of a body and $w_k$ its mass. Such a force has **no divergence** outside
# the bodies: what flows into a small box flows out of it again. We check that with derivatives
# by automatic differentiation.


# %%
def force(x, power=2):
    """The force at each row of x, shape (B, 2)."""
    apart = bodies - x[:, None]
    return (masses[:, None] * apart / apart.norm(dim=2, keepdim=True) ** power).sum(1)


def divergence(x, power):
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: force(v[None], power)[0]))(x)
    return jacobian.diagonal(dim1=1, dim2=2).sum(1)


torch.manual_seed(0)
places = 3 * torch.randn(50, 2, dtype=torch.float64)
right, wrong = (float(divergence(places, power).abs().max()) for power in (2, 3))
print(f"largest divergence: {right:.0e} for 1 / r, {wrong:.2f} for 1 / r^2")
assert right < 1e-10 < wrong

# %% [markdown]
# ## Near and far
#
# We draw **field lines**: curves that follow the force. Right, from ten times as far.

# %% Field lines of four bodies in the plane: tangled nearby, straight towards one point far away
figure, axes = plt.subplots(1, 2, figsize=(11, 5.9), layout="constrained")
for ax, view in zip(axes, (4.0, 40.0), strict=True):
    ticks = torch.linspace(-view, view, 60 if SMALL else 161, dtype=torch.float64)
    x, y = torch.meshgrid(ticks, ticks, indexing="xy")
    u, v = force(torch.stack((x, y), 2).view(-1, 2)).view(*x.shape, 2).unbind(2)
    ax.streamplot(*(a.numpy() for a in (x, y, u, v)), color=GREY, density=1.3, linewidth=0.9)
    for place, mass, colour in zip(bodies, masses, COLOURS, strict=True):
        ax.scatter(*place, s=2400 * mass / view**0.8, color=colour, zorder=3, edgecolors="white")
    ax.set(xlim=(-view, view), ylim=(-view, view), aspect="equal")
for name, place in zip(NAMES, bodies, strict=True):
    axes[0].annotate(name, place, (12, 12), textcoords="offset points", weight="bold", size=14)
axes[0].set_title("Near: four bodies, A in the middle")
axes[1].set_title("Far: as if all the mass were at one point")
plt.show()

# %% [markdown]
# ## How fast do the four become one?
#
# Put all the mass at one point $c$ and compare its force with the true one on circles of radius
# $R$. If $c$ is the centre of mass, the first correction, of relative size $1/R$, cancels, and
# the error falls as $1/R^2$. Around any other point it falls as $1/R$ only. A practical lesson
# for Poisson flows follows: **centre the prior at the mean of the data**.

# %%
angles = (torch.arange(COUNT, dtype=torch.float64) + 0.5) * (2 * math.pi / COUNT)
circle = torch.stack((angles.cos(), angles.sin()), 1)


def far_error(point, radius):
    """The largest relative error of the force of one body at a point."""
    x = point + radius * circle
    true = force(x)
    return float(((true - (point - x) / radius**2).norm(dim=1) / true.norm(dim=1)).max())


radii = [4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
errors = {
    "about the centre of mass": [far_error(centre, r) for r in radii],
    "about body A": [far_error(bodies[0], r) for r in radii],
}
for name, found in errors.items():
    ratio = found[-2] / found[-1]
    print(f"{name}: error {found[-1]:.1e} at R = 256, at half that distance {ratio:.1f} times it")
    assert abs(ratio - (4 if "centre" in name else 2)) < 0.2

# %% The error of one body in place of four falls as 1/R about A, as 1/R^2 about the centre of mass
figure, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
for (name, found), colour, end in zip(errors.items(), COLOURS, ("$1/R^2$", "$1/R$"), strict=False):
    ax.loglog(radii, found, "o-", color=colour, label=f"{name}: falls as {end}")
ax.set(xlabel="distance R", ylabel="relative error of the force")
ax.set_title("From far away, four bodies pull like one")
ax.legend()
plt.show()

# %% [markdown]
# ## Let them fall
#
# Only the *direction* of the force decides where a particle ends. Its speed is ours to choose.
# The force is the slope of the potential
# $\Phi(x) = -\sum_k w_k \log |x - y_k|$. Let a particle move with
#
# $$\frac{dx}{dt} = \frac{F}{|F|^2}, \qquad \text{so that} \qquad
# \frac{d\Phi}{dt} = \nabla \Phi \cdot \frac{dx}{dt} = F \cdot \frac{F}{|F|^2} = 1.$$
#
# The clock then *is* the potential. All particles that start at one potential are at one
# potential ever after, and close to a body of mass $w$ the distance shrinks as $e^{-t/w}$.
#
# A field in diffode states its velocity, prior and span of time; then every solver knows it.


# %%
class Falling(Field):
    """Particles that fall towards the four bodies, with the potential as their clock."""

    prior, event_shape = Normal(), (2,)

    def __init__(self, radius, power=2, end=3.0):
        super().__init__()
        self.span, self.power = (-math.log(radius), end), power

    def velocity(self, x, t, y=None):
        f = force(x, self.power)
        pull = f.norm(dim=1, keepdim=True)
        return f / pull / pull.clamp_min(2e-2)  # slower than the clock where the forces cancel


def fall(radius, start=circle, steps=STEPS, **options):
    """The paths (steps + 1, B, 2) of particles that start on a circle about the centre of mass."""
    field = Falling(radius, **options)
    x = centre + radius * start
    return get_solver("heun")(field, x, grid(field, steps, "native"), path=True).path


path = fall(100.0)
distance = torch.cdist(path[-1], bodies)
home = distance.argmin(1)
shares = home.bincount(minlength=4).double() / COUNT
for name, mass, share in zip(NAMES, masses, shares, strict=True):
    print(f"{name}: mass {mass:.2f}, share of the particles {share:.3f}")
assert (shares - masses).abs().max() < 2.5 / COUNT

# %% Paths of particles from a far circle, coloured by the body where they end
figure, axes = plt.subplots(1, 2, figsize=(11, 5.9), layout="constrained")
for ax, view in zip(axes, (4.0, 20.0), strict=True):
    for k in range(0, COUNT, COUNT // 100):
        ax.plot(*path[:, k].T, color=COLOURS[home[k]], linewidth=1.0)
    for place, mass in zip(bodies, masses, strict=True):
        ax.scatter(*place, s=200 * mass, color=INK, zorder=3)
    ax.set(xlim=(-view, view), ylim=(-view, view), aspect="equal")
percent = ", ".join(f"{n} {100 * s:.0f} %" for n, s in zip(NAMES, shares, strict=True))
axes[0].set_title(f"Where they end: {percent}")
axes[1].set_title("Farther out: even directions, straight lines")
plt.show()

# %% [markdown]
# ## Why exactly the masses?
#
# The force flows nowhere but into the bodies. Draw a small circle around A: the flux into it is
# $2 \pi w_A$, whatever the other bodies do (**Gauss's law**). Draw a large circle around all: the
# flux through it is $2 \pi (w_A + w_B + w_C + w_D)$, and from far away it comes evenly from all
# sides. So a share $w_A$ of the far circle belongs to A. Shielding bends lines, and loses none.
#
# So the answer is **40 %**, exactly. The force has turned a law that is easy to draw, the uniform
# one, into the law of the data. That is all that a generative model does.
#
# The same law checks our solver. In the plane the angle
# $\psi = \sum_k w_k \, \mathrm{angle}(x - y_k) / 2 \pi$ counts the flux on one side of a line: it
# stays the same along each.

# %%
apart = path[:, :, None] - bodies
angle = torch.atan2(apart[..., 1], apart[..., 0])
turns = (angle.diff(dim=0) + math.pi).remainder(2 * math.pi) - math.pi  # without the wraps
drift = (turns.sum(0) @ masses / (2 * math.pi)).abs()
print(f"the flux beside a line changes by {drift.median():.0e}, at most {drift.max():.0e}")
assert drift.median() < 1e-3

# %% [markdown]
# ## The clock, seen
#
# Because the potential is the clock, the particles form **fronts**, curves of equal potential.
# A front is a circle far away, bends, pinches off where the forces cancel, and becomes four small
# circles. It is the law of $x_t$ at one time: prior, something between, data.

# %% Fronts of falling particles at six times: one circle far away, four small ones at the end
figure, axes = plt.subplots(2, 3, figsize=(11, 7.4), layout="constrained")
times = grid(Falling(100.0), STEPS, "native")
for ax, when in zip(axes.flat, (-1.8, -1.2, -0.75, -0.5, -0.2, 0.3), strict=True):
    now = int((times - when).abs().argmin())
    ax.scatter(*path[now].T, s=8, c=[COLOURS[k] for k in home])
    ax.scatter(*bodies.T, s=30, color=INK, marker="+")
    ax.set(xlim=(-8, 8), ylim=(-8, 8), aspect="equal", title=f"potential {when:g}")
figure.suptitle("Particles of one potential, coloured by the body that they will reach")
plt.show()
potential = -(torch.cdist(path[STEPS // 2], bodies).log() * masses).sum(1)
spread = float(potential.std())
print(f"half way, the potential of the particles is {potential.mean():.3f}, spread {spread:.0e}")
assert spread < 1e-2

# %% [markdown]
# ## What to remember
#
# * Data are sources; a far circle (or sphere) is the prior; the force is the velocity.
# * The force must fall as $r^{-(N-1)}$. Then Gauss's law gives each source its share of lines.
# * The farther the start, the better the prior: about the mean its error falls as $1/R^2$.
#
# In lesson 2 this force fails, on other data; and one more dimension mends it.
#
# Sources: Su Jianlin, *Generative diffusion models, a ramble*, part 13 (kexue.fm, in Chinese); Xu,
# Liu, Tegmark and Jaakkola (2022), *Poisson flow generative models*, arXiv:2209.11178.
#
# ## Exercises
#
# 1. Start at $R = 3$ instead of 100, still uniformly on the circle. Which shares do you get?
# 2. Use the force of three dimensions, $1/r^2$, in the plane (`power=3`). Who gains, and why?
# 3. Run time backwards: start on a small circle around each body, with as many particles as it
#    has mass, and let them *rise*. Are they spread evenly over a far circle?
#
# ## Answers
#
# **1.** Near the bodies, equal angles are not equal shares of the flux. The prior is wrong, and no
# solver can mend it.


# %%
def shares_of(path):
    return torch.cdist(path[-1], bodies).argmin(1).bincount(minlength=4).double() / len(path[-1])


for radius in (3.0, 10.0, 100.0):
    found = shares_of(fall(radius))
    off = float((found - masses).abs().max())
    print(f"R = {radius:g}: {[round(v, 2) for v in found.tolist()]}, off by up to {off:.3f}")
    if radius == 3.0:
        assert off > 0.02
assert off < 2.5 / COUNT

# %% [markdown]
# **2.** A force that falls faster has a divergence: lines are lost on the way. The outer bodies
# catch more than their share.

# %%
steep = shares_of(fall(100.0, power=3, end=-math.log(100.0) + 60.0, steps=4 * STEPS))
print("with 1 / r^2:", [round(v, 2) for v in steep.tolist()])
print("with 1 / r:  ", [round(v, 2) for v in shares.tolist()])
assert steep[0] < 0.3 and (steep[1:] > masses[1:]).all()

# %% [markdown]
# **3.** Yes. Run backwards, the flow *encodes* data as points of the prior. Neighbours there have
# equal gaps, but for the few places where the lines of two bodies meet.

# %%
around = [round(COUNT * float(mass)) for mass in masses]
starts = []
for place, number in zip(bodies, around, strict=True):
    turn = (torch.arange(number, dtype=torch.float64) + 0.5) * (2 * math.pi / number)
    starts.append(place + 1e-3 * torch.stack((turn.cos(), turn.sin()), 1))
field = Falling(1.0)
up = torch.linspace(2.0, -math.log(100.0), STEPS + 1, dtype=torch.float64)
risen = get_solver("heun")(field, torch.cat(starts), up).x - centre
gaps = torch.atan2(risen[:, 1], risen[:, 0]).sort().values.diff() * COUNT / (2 * math.pi)
even = float(((gaps - 1).abs() < 0.1).double().mean())
print(f"{100 * even:.0f} % of the gaps on the far circle are even to a tenth")
assert even > 0.9
