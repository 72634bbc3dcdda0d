# %% [markdown]
# # Lesson 2. The shell, mode collapse, and the added dimension
#
# **Question.** In lesson 1 particles fell from far away onto four bodies, and each body got its
# share. Real data are not four points; they fill regions. Does the same force work when the mass
# is spread over a ring, or over a whole disc?
#
# **Predict.** Spread mass evenly over a ring in the plane. A particle sits inside the ring, nearer
# to its right side. Is it pulled
#
# * (a) to the right, because that side is nearer,
# * (b) to the left, because more of the ring lies there, or
# * (c) not at all?

# %%
import math
import os

import matplotlib.pyplot as plt
import torch

from diffode import sample
from diffode.fields import Empirical, Field, Karras, PoissonField
from diffode.priors import Normal, StudentT
from diffode.solvers import get_solver, grid

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"
SEEDS, COUNT = (400, 300) if SMALL else (2000, 1500)  # bodies, and particles
BLUE, ORANGE, GREEN, INK, PALE = "#0072B2", "#E69F00", "#009E73", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

angle = torch.arange(1000, dtype=torch.float64) * (2 * math.pi / 1000)
ring = torch.stack((angle.cos(), angle.sin()), 1)
k = torch.arange(SEEDS, dtype=torch.float64) + 0.5
turn, radius = k * math.pi * (3 - math.sqrt(5)), (k / SEEDS).sqrt()
disc = radius[:, None] * torch.stack((turn.cos(), turn.sin()), 1)  # as a sunflower's seeds


def force(x, bodies):
    """The force in the plane, 1 / r for each body, at each row of x."""
    apart = bodies - x[:, None]
    return (apart / apart.square().sum(2, keepdim=True)).mean(1)


# %% [markdown]
# ## Inside a ring there is no force
#
# The answer is **(c)**. Look through the particle along a thin double cone. It cuts a near piece
# out of the ring on one side and a far piece on the other. The far piece is longer, in proportion
# to its distance; its pull is weaker, in the same proportion. They cancel, in every direction.
# Newton found this for shells in space (*shell theorem*); here is the ring in the plane, whose
# force falls as $1/r$. From outside, the ring pulls like one body in its middle.

# %% The force inside a ring is zero; outside it is that of one body at the centre
r = torch.linspace(0.0, 3.0, 601, dtype=torch.float64)
line = torch.stack((r, torch.full_like(r, 0.01)), 1)
of_ring = force(line, ring).norm(dim=1)
inside, outside = (r > 0.1) & (r < 0.9), r > 1.1
print(f"largest force inside the ring: {of_ring[inside].max():.0e}")
assert of_ring[inside].max() < 1e-12
assert (of_ring * line.norm(dim=1) - 1)[outside].abs().max() < 1e-3

figure, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
ax.plot(r, of_ring, color=BLUE, lw=2.5, label="ring of radius 1")
ax.plot(r, 1 / r.clamp_min(0.3), color=INK, ls=":", label="one body in the middle, 1 / r")
ax.plot(r, torch.where(r < 1, r, 1 / r), color=ORANGE, lw=2, ls="--", label="filled disc")
ax.set(xlabel="distance r from the middle", ylabel="force", ylim=(0, 2.2))
ax.set_title("Only the mass farther inside than the particle pulls")
ax.legend()
plt.show()

# %% [markdown]
# ## A filled disc, and mode collapse
#
# A filled disc is many rings, one in another. At distance $r$ the rings farther out do not pull
# at all, and those farther in pull like one body in the middle. Their mass is $r^2$ (of a unit
# mass in a unit disc), so the force is $r^2 \cdot 1/r = r$ inside and $1/r$ outside:
#
# $$F(x) = -\frac{x}{\max(1, |x|^2)}.$$
#
# It points to the **middle**, everywhere. What will particles from far away do? They pass through
# all of the data without stopping and meet in one point. The data fill a disc; the samples are one
# point again and again. That is **mode collapse**.


# %%
class InPlane(Field):
    """Particles that follow the force of a filled disc, in its own plane."""

    prior, span, event_shape = Normal(), (0.0, 12.0), (2,)

    def velocity(self, x, t, y=None):
        return -x / x.square().sum(1, keepdim=True).clamp_min(1)


far = 4 * torch.stack((turn.cos(), turn.sin()), 1)[:COUNT]
field = InPlane()
fallen = get_solver("heun")(field, far, grid(field, 200, "native")).x
print(f"farthest of {len(far)} particles from the middle: {fallen.norm(dim=1).max():.3f}")
assert fallen.norm(dim=1).max() < 0.02
by_charges = force(0.7 * far / 4, disc)
print(f"the force at r = 0.7: 0.700 by the formula, {by_charges.norm(dim=1).mean():.3f} by bodies")
assert (by_charges.norm(dim=1).mean() - 0.7).abs() < 0.03

# %% [markdown]
# (Point bodies would still catch their shares, through channels as narrow as the gaps between
# them. A network that is trained on such data learns the smooth force, and so collapses.)
#
# ## One dimension more
#
# The mending idea of PFGM: put the data into a space with **one dimension more**. The data lie in
# the plane $z = 0$, particles start at $z > 0$. With $N = 2$ data dimensions there are now
# $N + 1 = 3$, where the force that loses no flux falls as $r^{-N}$:
#
# $$F(x, z) = \sum_k w_k \frac{(y_k - x, \; -z)}{(|x - y_k|^2 + z^2)^{(N+1)/2}}.$$
#
# The last coordinate of the force, $-z \sum_k \dots$, is never zero above the plane: **seen from
# above, a ring has no inside**. We follow a line with $z$ as the clock, from $z_{max}$ to 0:
#
# $$\frac{dx}{dz} = \frac{F_x}{F_z} = \frac{x - E[x_0 | x, z]}{z}, \qquad
# E[x_0 | x, z] = \frac{\sum_k w_k \, y_k \, \rho_k^{-(N+1)}}{\sum_k w_k \, \rho_k^{-(N+1)}},
# \quad \rho_k^2 = |x - y_k|^2 + z^2.$$
#
# In diffode this is the exact field of the data under Student-t noise with one degree of freedom,
# its noise level sigma being $z$. We check it against the sum of forces.


# %%
def lifted(x, z, bodies):
    """The force with the added dimension: its part in the plane, and its last coordinate."""
    apart = bodies - x[:, None]
    weight = (apart.square().sum(2) + z * z) ** -1.5 / len(bodies)
    return (weight[..., None] * apart).sum(1), -z * weight.sum(1)


exact = Empirical(ring, Karras(1e-3, 40.0), StudentT(dof=1))
probe = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
f_x, f_z = lifted(probe, 0.1, ring)
print("in the plane, force at (0.3, 0.2):", f"{force(probe, ring).norm():.0e}")
print("at z = 0.1, dx/dz by the forces:  ", (f_x / f_z)[0].tolist())
print("             and by the field:    ", exact.velocity(probe, 0.1)[0].tolist())
torch.testing.assert_close(exact.velocity(probe, 0.1), f_x / f_z)
assert force(probe, ring).norm() < 1e-13 and (f_x / f_z).norm() > 1

# %% [markdown]
# ## The disc again, from above
#
# The prior is again "from far away, evenly in all directions", now over a half sphere; the field
# draws it by itself. Compare with the collapse.

# %% Particles that fell onto a disc: all in the middle in the plane, all over it from above
above = PoissonField(Empirical(disc, Karras(1e-3, 40.0), StudentT(dof=1)))
landed = sample(above, COUNT, "heun", steps=60, seed=0).x.double()
figure, axes = plt.subplots(1, 2, figsize=(11, 5.9), layout="constrained")
ends = {"Force in the plane: one point": fallen, "One dimension more: the whole disc": landed}
for ax, (title, x), colour in zip(axes, ends.items(), (ORANGE, BLUE), strict=True):
    ax.scatter(*disc.T, s=26, color=PALE, label="data")
    ax.scatter(*x.T, s=9, color=colour, label="samples")
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", title=title)
    ax.legend(loc="upper left")
plt.show()


# %%
def ks(u):
    """The largest difference between the shares of u and those of the uniform law on (0, 1)."""
    u, n = u.sort().values, len(u)
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    return float(torch.maximum(steps - u, u - steps + 1 / n).max())


collapsed, spread = (ks(x.norm(dim=1).square().clamp_max(1)) for x in (fallen, landed))
print(f"the area inside a sample's circle, against evenly spread: {spread:.3f} with z,")
print(f"{collapsed:.3f} in the plane; chance alone gives up to {1.63 / COUNT**0.5:.3f}")
assert spread < 1.63 / math.sqrt(COUNT) and collapsed > 0.99

# %% [markdown]
# ## Why does every region get its share now?
#
# Stand just above the data. The force straight down, $F_z$, is the flux into the plane: what
# arrives. By Gauss's law half of the flux of a patch of data goes up and half goes down. So
# as $z \to 0$
#
# $$\frac{|F_z(x, z)|}{4 \pi} = \frac{p_z(x)}{2} \; \to \; \frac{p(x)}{2},$$
#
# where $p_z$ is the law of $x_0 + z \cdot$ noise ($4 \pi$ is the area of the unit sphere in three
# dimensions). The first equality holds **at every height**: the plane at height $z$ is crossed
# with density $p_z$. The flow therefore carries $p_{z}$ to $p_{z'}$ for all heights exactly, and
# not only from infinity. The plane has room for a density; a point in it is met from above only.

# %% The flux through planes above the disc is the density of the noisy data, and tends to the disc
figure, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
line = torch.stack((torch.linspace(-2, 2, 401, dtype=torch.float64), torch.zeros(401)), 1)
for z, colour in ((1.0, ORANGE), (0.4, GREEN), (0.1, BLUE)):
    flux = lifted(line, z, disc)[1].abs() / (4 * math.pi)
    density = above.inner.log_marginal(line, z).exp()
    torch.testing.assert_close(flux, density / 2)
    ax.plot(line[:, 0], 2 * flux, color=colour, lw=2, label=f"z = {z:g}")
ax.plot([-2, -1, -1, 1, 1, 2], [0, 0, 1 / math.pi, 1 / math.pi, 0, 0], color=INK, label="data")
ax.set(xlabel="x, through the middle of the disc", ylabel="twice the flux through the plane")
ax.set_title("What crosses a plane above the data is their density with noise")
ax.legend()
plt.show()

# %% [markdown]
# ## What to remember
#
# * In the plane of the data, the mass around a particle does not pull it: it falls through, to
#   one point. That is the mode collapse of the plain force.
# * With one dimension more the force never vanishes, and the flux through each plane above the
#   data **is** the density of the data with noise of that height.
# * The added coordinate is the noise level. So PFGM has the form of a diffusion model, with
#   Cauchy noise (Student-t noise, one degree of freedom) in the place of normal noise.
#
# Sources: Su Jianlin, *Generative diffusion models, a ramble*, part 13 (kexue.fm, in Chinese); Xu
# et al. (2022), *Poisson flow generative models*, arXiv:2209.11178; for more added
# dimensions Xu et al. (2023), *PFGM++*, arXiv:2302.04265.
#
# ## Exercises
#
# 1. Does the shell theorem hold for a force $1/r^2$ in the plane? Try it at $(0.3, 0.2)$.
# 2. PFGM++ adds $D$ dimensions instead of one. Do samples fill the disc for $D = 128$ too?
# 3. Start much lower, at $z_{max} = 0.5$ instead of 40, from the same kind of half sphere. What
#    goes wrong?
#
# ## Answers
#
# **1.** No. The near side wins: with $1/r^2$ the particle is pulled outward.

# %%
apart = ring - probe
pull = (apart / apart.norm(dim=1, keepdim=True) ** 3).mean(0)
print("force 1 / r^2 at (0.3, 0.2):", pull.tolist())
assert pull @ probe[0] > 0.05

# %% [markdown]
# **2.** Yes. The flux argument holds for any number of added dimensions. Only the noise becomes
# more like the normal one as $D$ grows.

# %%
many = PoissonField(Empirical(disc, Karras(1e-3, 40.0), StudentT(dof=128)))
found = ks(sample(many, COUNT, "heun", steps=60, seed=1).x.norm(dim=1).square().double())
print(f"D = 128: {found:.3f}, chance alone gives up to {1.63 / COUNT**0.5:.3f}")
assert found < 1.63 / math.sqrt(COUNT)

# %% [markdown]
# **3.** From $z = 0.5$ the disc does not look like one body. The prior is not the law of the flow
# at that height, and the samples have the error that the start had.

# %%
low = PoissonField(Empirical(disc, Karras(1e-3, 0.5), StudentT(dof=1)))
found = ks(sample(low, COUNT, "heun", steps=60, seed=2).x.norm(dim=1).square().double())
print(f"from z = 0.5: {found:.3f}")
assert found > 0.1
