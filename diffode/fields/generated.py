r"""A generator as a field: one Euler step from its latents to its samples.

.. math:: f(x) = g(x) - x, \qquad z + 1 \cdot f(z) = g(z) .

So `diffode.sample` takes one step of one evaluation. More steps are another map, and the law of
a generator's samples is not that of this field's flow: there is no likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffode.doors import as_labels, as_state
from diffode.fields.base import Field, SamplingDefaults
from diffode.priors import Normal


class Generated(Field):
    r"""The field of a generator :math:`g(z) = m + s \, G(z)` with latents as large as its samples.

    Arguments:
        generator: G, a module called as ``generator(z, y)`` with z of shape (B, N). It states
            ``event_shape`` of its samples and ``latent``, the N numbers of z.
        mean, std: m, shape (\*event), and s of the data.

    Raises:
        TypeError: a module that states no event_shape.
        ValueError: a generator whose latents are of another size than its samples.
    """

    smooth = False

    mean: Tensor

    def __init__(self, generator: nn.Module, mean: Tensor | float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        shape, latent = (getattr(generator, name, None) for name in ("event_shape", "latent"))
        if shape is None:
            raise TypeError(f"{type(generator).__name__} states no event_shape")
        size = torch.Size(shape).numel()
        if latent != size:
            raise ValueError(
                f"got latents of {latent} numbers for samples of {size}; a field moves points of "
                "one shape"
            )
        self.generator, self.event_shape = generator, tuple(shape)
        self.classes = getattr(generator, "classes", None)
        self.prior, self.span, self.sampling_defaults = (
            Normal(),
            (0.0, 1.0),
            SamplingDefaults("euler", (0.0, 1.0)),
        )
        mean = torch.as_tensor(mean, dtype=torch.float32).expand(self.event_shape)
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.std = float(std)

    def make(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The samples g(z) of latents z, both (B, \\*event)."""
        z = as_state(z, self.event_shape, "z")
        made: Tensor = self.generator(z.flatten(1), as_labels(y, len(z)))
        return self.mean.to(z) + self.std * made.view_as(z)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The way from x to g(x), the same at all times."""
        x = self.as_state(x)
        return self.make(x, y) - x
