"""A judge of digit samples: what a trained field must reach, by figures and a classifier."""

import functools

import torch

from diffode.data import load
from diffode.metrics import floor, quality


@functools.cache
def classifier():
    """An SVM of 98 % accuracy on the held-out digits, trained on the training split."""
    from sklearn.svm import SVC

    digits = load("digits")
    model = SVC(C=10, gamma=0.02).fit(digits.train.flatten(1).numpy(), digits.train_labels.numpy())
    accuracy = model.score(digits.test.flatten(1).numpy(), digits.test_labels.numpy())
    assert accuracy >= 0.98, accuracy
    return model


def verdict(x):
    """What is wrong with samples x of the digits, as short sentences; empty if nothing is."""
    digits = load("digits")
    q, real = quality(x, digits.train, digits.test), floor(digits.train, digits.test)
    shares = torch.from_numpy(classifier().predict(x.flatten(1).numpy())).bincount(
        minlength=10
    ) / len(x)
    beyond = float((x.flatten(1).abs() > 2).any(1).double().mean())
    near = q.nearest / real.nearest
    claims = {
        f"Frechet {q.frechet:.3f} over 1.5 x {real.frechet:.3f}": q.frechet <= 1.5 * real.frechet,
        f"precision {q.precision:.3f} under .85": q.precision >= 0.85,
        f"recall {q.recall:.3f} under .80": q.recall >= 0.80,
        f"nearest {near:.3f} of real digits', outside .85 to 1.2": 0.85 <= near <= 1.2,
        f"{beyond:.3f} of samples beyond +-2": beyond <= 0.01,
        f"digit shares from {shares.min():.3f} to {shares.max():.3f}, outside .04 to .18": (
            float(shares.min()) >= 0.04 and float(shares.max()) <= 0.18
        ),
    }
    return [claim for claim, holds in claims.items() if not holds]
