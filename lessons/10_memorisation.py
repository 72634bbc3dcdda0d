# %% [markdown]
# # Lesson 10. Memorisation by the exact field, generalisation by a network
#
# **Question.** For a finite training set the best possible field is known: a formula. Nobody uses
# it to make pictures. People train a network that only comes near to it. Why is the worse solution
# the better model?
#
# Training minimises the mean of $|D(x_0 + \sigma n) - x_0|^2$ over training points $x_0$ and noise
# $n$. The minimum is
#
# $$D(x) = E[x_0 | x] = \sum_i w_i(x) x_i, \qquad w_i(x) \propto \exp(-|x - x_i|^2 / 2 \sigma^2),$$
#
# an average of the training points, the near ones with more weight. diffode calls it `Empirical`.
#
# **Predict.** (a) Sample by the exact field of 400 small pictures of digits. What do you get? (b)
# At which noise level is that decided? (c) Train a small network on the same 400 pictures. Will
# its samples be closer to the training pictures than real new pictures are?

# %%
import os

import matplotlib.pyplot as plt
import torch

from diffode import Rng, build, sample, train
from diffode.data import load
from diffode.fields import Empirical, Karras
from diffode.metrics.neighbours import copying, nearest
from diffode.priors import StudentT
from diffode.training import data_stats

SMALL = os.environ.get("DIFFODE_LESSONS") == "small"  # set where the lessons are tested
BLUE, ORANGE, INK, PALE = "#2f6fb5", "#e07b39", "#1f2430", "#c9cdd6"
plt.rcParams.update({"figure.dpi": 110, "font.size": 12, "legend.frameon": False})

digits = load("digits")
known, new = digits.train[:400], digits.test  # to train on; never seen in training
exact = Empirical(known.double(), Karras())
print(f"{len(known)} pictures of 8 x 8 to train on, {len(new)} held out, values from -1 to 1")

# %% [markdown]
# ## (a) What the exact field draws
#
# For each sample we look for the nearest training picture. The scale to compare with: how far a
# *new* real picture is from its nearest training picture.

# %%
by_formula = sample(exact, 100, nfe=60, seed=1).x.double()
distance, match = nearest(by_formula, known)
usual = float(nearest(new, known)[0].median())
print(f"sample to nearest training picture: median {float(distance.median()):.5f}")
print(f"new picture to nearest training picture: median {usual:.2f}")
copies = float((distance < 0.1 * usual).double().mean())
print(f"copies among the samples: {copies:.0%}")
assert copies > 0.95

# %% [markdown]
# **Explanation.** The samples *are* training pictures. They must be: at the end of the path the
# field belongs to the law of the data plus very little noise, and the "data" of the formula are
# these 400 points and nothing else. The flow is right, and the question was wrong: we do not want
# the law of the training set, but the law that it was drawn from.
#
# The same holds for every schedule and every noise law. Here is a Poisson flow (exercise 1 asks
# for rectified flow).

# %%
poisson = Empirical(known.double(), Karras(), StudentT(1))
x = sample(poisson, 50, nfe=60, seed=1).x.double()
copies = float((nearest(x, known)[0] < 0.1 * usual).double().mean())
print(f"copies among samples of the exact Poisson flow: {copies:.0%}")
assert copies > 0.9

# %% [markdown]
# ## (b) When is it decided?
#
# Take a noisy *new* picture and see how the weights $w_i$ are spread. With $H$ the entropy of the
# weights, $e^H$ counts how many training pictures the average is over: 400 if all count equally, 1
# if it is a single one.

# %%
levels = torch.logspace(-1.5, 1.7, 25, dtype=torch.float64)


def counted(data, points, sigma):
    """How many points of the data the posterior mean averages over, the median over points."""
    noise = Rng(2).normal("noise", points.shape, torch.float64)
    apart = torch.cdist((points.double() + sigma * noise).flatten(1), data.double().flatten(1))
    log = torch.log_softmax(-(apart**2) / (2 * sigma**2), 1)
    return float((-(log.exp() * log).sum(1)).exp().median())


figure, ax = plt.subplots(figsize=(12, 5), layout="constrained")
for size, style in ((50, ":"), (400, "--"), (1438, "-")):
    values = [counted(digits.train[:size], new, float(s)) for s in levels]
    ax.loglog(levels, values, color=BLUE, ls=style, lw=2, label=f"{size} training pictures")
    alone = float(levels[torch.tensor(values) < 1.5].max())
    print(f"{size} pictures: a single one decides below sigma = {alone:.2f}")
    assert values[0] < 1.01 and values[-1] > 0.9 * size
ax.set(xlabel="noise level sigma", ylabel="pictures that the average is over")
ax.set_title("Below a noise level the exact field knows one training picture only")
ax.legend()
plt.show()

# %% [markdown]
# **Explanation.** In 64 dimensions the neighbours of a point are far: the distance of a new
# picture to the nearest training picture is about 2.6, and noise of $\sigma$ has the length
# $8 \sigma$. Below $\sigma$ of about 0.5 one picture takes all the weight. More data move this
# level only slowly: the distance between neighbours falls with the number of points $n$ like
# $n^{-1/d}$, and $d$ is large.
#
# ## (c) A network on the same pictures
#
# A small network learns by the same loss. It cannot be the formula: it has not seen enough steps,
# and it is smooth.

# %%
learner = build("edm", (1, 8, 8), stats=data_stats(known), network="mlp", width=256)
for _ in train(learner, known, steps=100 if SMALL else 300, batch=128, lr=2e-3):
    continue
network = learner.field
by_network = sample(network, 300, nfe=30, seed=1).x.double().detach()
apart, place = nearest(by_network, known)
print(f"network's sample to nearest training picture: median {float(apart.median()):.2f}")
score = copying(by_network, known, new).value
print(f"copying: {score:.2f} (1/2 is fair, 1 is a copy), of the formula ", end="")
print(f"{copying(by_formula, known, new).value:.2f}")
assert float((apart < 0.1 * usual).double().mean()) < 0.02 and score < 0.75
assert copying(by_formula, known, new).value > 0.95

# %%
figure, axes = plt.subplots(4, 10, figsize=(12, 5.2), layout="constrained")
rows = {
    "exact field": by_formula[:10],
    "nearest": known[match[:10]],
    "network": by_network[:10],
    "its nearest": known[place[:10]],
}
for line, (name, pictures) in zip(axes, rows.items(), strict=True):
    for ax, picture in zip(line, pictures, strict=True):
        ax.imshow(picture[0].numpy(), cmap="gray_r", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.suptitle("Samples, and below each the training picture that is nearest to it")
same = float((by_formula[:10] - known[match[:10]]).abs().max())
other = float((by_network[:10] - known[place[:10]]).flatten(1).norm(dim=1).min())
print(f"the exact field's are equal to {same:.4f}; the network's differ by {other:.2f} at least")
assert same < 0.05 < other

# %% [markdown]
# ## The two losses
#
# This is the heart of the lesson. The loss of both at each noise level: on training pictures, and
# on new ones. It is the mean of $|D(x_0 + \sigma n) - x_0|^2 / (64 \sigma^2)$: 1 is what you get
# by doing nothing, $D(x) = x$.

# %%
some = [float(s) for s in torch.logspace(-1.3, 1, 12)]


@torch.no_grad()
def loss(field, points, sigma):
    """The denoising loss at a level, in units of the noise's own square."""
    noise = Rng(3).normal("noise", points.shape, torch.float64)
    error = field.denoise((points + sigma * noise).to(points.dtype), sigma) - points
    return float(error.square().mean()) / sigma**2


figure, ax = plt.subplots(figsize=(12, 5.5), layout="constrained")
losses = {}
for name, field, colour in (("exact field", exact, ORANGE), ("network", network, BLUE)):
    for where, points, style, mark in (("training", known, "--", "s"), ("new", new, "-", "o")):
        z = points[:300].double() if field is exact else points[:300].float()
        losses[name, where] = [loss(field, z, s) for s in some]
        shown = [max(v, 1e-4) for v in losses[name, where]]
        ax.loglog(
            some, shown, color=colour, ls=style, marker=mark, label=f"{name}, {where} pictures"
        )
ax.axhline(1, color=PALE, zorder=0)
ax.set(xlabel="noise level sigma", ylabel="loss (1: do nothing; lowest shown 0.0001)")
ax.set_title("The exact field wins on what it knows, and fails on what is new")
ax.legend()
small = min(range(12), key=lambda k: abs(some[k] - 0.2))
for (name, where), values in losses.items():
    print(f"at sigma {some[small]:.2f}: {name} on {where} pictures {values[small]:.3f}")
assert losses["exact field", "training"][small] < 0.01 < losses["network", "training"][small]
assert losses["network", "new"][small] < 1 < losses["exact field", "new"][small]
assert losses["network", "new"][small] < 2.5 * losses["network", "training"][small]

# %% [markdown]
# **Explanation.** On training pictures nothing beats the formula, at any level: it is the minimum.
# On new pictures at low noise it is worse than doing nothing, because it moves each one to a
# training picture. The network's two losses are near each other. At high noise (right) all four
# agree: there the average is over many pictures, and the formula generalises too. So a model of
# pictures may be near to the exact field at high noise, and must be *unlike* it at low noise. What
# the network does there comes from its smoothness, and from training that ends in time.
#
# **What to remember.** A lower training loss is not a better model. Judge by held-out loss, and by
# the distance of samples to training points beside that of held-out points. `diffode train` prints
# both.
#
# ## Exercises
#
# 1. Does the exact field of rectified flow memorise as well?
# 2. Put a Gaussian of width $h$ on every training picture (`bandwidth=h`). Which $h$ has the
#    lowest loss on new pictures at $\sigma = 0.2$? Does it do as well as the network?
# 3. Give the network 10 pictures in place of 400, and as many steps. What is the copying score
#    now?
#
# ## Answers

# %%
# 1. Yes: another schedule is another clock, for the same law of 400 points.
from diffode.fields import Rectified  # noqa: E402

x = sample(Empirical(known.double(), Rectified()), 50, nfe=60, seed=1).x
copies = float((nearest(x, known)[0] < 0.1 * usual).double().mean())
print(f"copies among samples of exact rectified flow: {copies:.0%}")
assert copies > 0.9

# %%
# 2. Some blur is far better than none. But it blurs in all directions alike; the network does not.
blurred = {}
for h in (0.0, 0.1, 0.2, 0.4, 0.8):
    field = Empirical(known.double(), Karras(), bandwidth=h)
    blurred[h] = loss(field, new[:300].double(), 0.2)
    print(f"width {h}: loss on new pictures {blurred[h]:.3f}")
best = min(blurred, key=blurred.get)
learned = loss(network, new[:300].float(), 0.2)
print(f"the network: {learned:.3f}")
assert 0 < best < 0.8 and learned < blurred[best] < 1 < blurred[0.0]

# %%
# 3. Ten pictures are soon known by heart: now the network copies.
few = known[:10]
learner = build("edm", (1, 8, 8), stats=data_stats(few), network="mlp", width=256)
for _ in train(learner, few, steps=100 if SMALL else 300, batch=128, lr=2e-3):
    continue
heart = copying(sample(learner.field, 100, nfe=30).x.detach(), few, new).value
print(f"copying of a network that was trained on 10 pictures: {heart:.2f}")
assert heart > 0.9 > score
