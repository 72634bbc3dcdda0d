"""The default solver as a scheduler of diffusers.

    pipe.scheduler = DiffodeScheduler.from_config(pipe.scheduler.config)

What the path is and what the network's output means is read from the configuration of the
scheduler that the pipeline came with (`diffode.interop.scheduler_path`). The steps are those of
the default solver, one evaluation each, and the last one ends at the data itself. States stay on
the path :math:`x_t = \\alpha_t x_0 + \\sigma_t n` of the model; they may be of half precision,
while the schedule is float64 and the solver's own state float32 or better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from torch import Tensor

from diffode.doors import as_count, as_positive, single
from diffode.interop.layout import Layout, falling, first_time, native, of_sigmas
from diffode.interop.origin import class_of
from diffode.interop.paths import SchedulerPath, scheduler_path
from diffode.interop.stepping import StepwisePath
from diffode.solvers.multistep import Walk

_OWN = "DiffodeScheduler"


class DiffodeScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """The default solver for any pipeline of diffusers; `from_config` makes it.

    Arguments:
        source: the class of the scheduler whose configuration this is.
        guidance_scale: the guidance weight w of the pipeline, as diffusers counts it: 1 is none.
            None: not known, and each sample's order is chosen by its own slopes.
        data_std: s, the standard deviation of a coordinate of the data (of a latent, in the units
            that the model sees); None: what the configuration says, or 1.
        principal_std: S, that along the data's main axes; None: not known.
        others: what the path depends on, as in ``source``; None is its default there.

    Raises:
        ValueError: a configuration that states no path, or a number that is none.
    """

    _compatibles = [  # noqa: RUF012
        *(kind.name for kind in KarrasDiffusionSchedulers),
        "EDMDPMSolverMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
    ]
    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        source: str = "DPMSolverMultistepScheduler",
        num_train_timesteps: int = 1000,
        beta_start: float | None = None,
        beta_end: float | None = None,
        beta_schedule: str | None = None,
        trained_betas: Sequence[float] | None = None,
        rescale_betas_zero_snr: bool | None = None,
        prediction_type: str | None = None,
        timestep_type: str | None = None,
        use_flow_sigmas: bool | None = None,
        invert_sigmas: bool | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sigma_data: float | None = None,
        shift: float | None = None,
        flow_shift: float | None = None,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        guidance_scale: float | None = None,
        data_std: float | None = None,
        principal_std: float | None = None,
    ) -> None:
        self.path = _path(self.config)
        std = self.path.std if sigma_data is not None else 1.0
        self._data = (
            std if data_std is None else as_positive(data_std, "data_std", "of the data"),
            principal_std and as_positive(principal_std, "principal_std", "of their main axes"),
        )
        if guidance_scale is not None:
            as_positive(guidance_scale, "guidance_scale", "1 for no guidance")
        self._begin_index: int | None = None
        self._shift = float(shift or flow_shift or 1.0)
        self.num_inference_steps: int | None = None
        self._walk: Walk | None = None
        self._next: int | None = None
        self._state = self._returned = torch.zeros(())
        self._lay_out(1, None, None)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any] | SchedulerMixin | None = None,
        return_unused_kwargs: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The default solver on the path of another scheduler.

        Arguments:
            config: the other scheduler's ``config``, or the scheduler itself.
            return_unused_kwargs: as in diffusers.
            options: ``guidance_scale``, ``data_std`` and ``principal_std``, as for the class.

        Raises:
            ValueError: the configuration states no path that is known here.
        """
        name = None
        if isinstance(config, SchedulerMixin):
            name, config = type(config).__name__, config.config
        if not isinstance(config, Mapping):
            raise ValueError(f"got {config!r:.60}; wanted a scheduler or its config")
        values = {k: v for k, v in config.items() if k != "_use_default_values"}
        name = values.pop("_class_name", None) or name
        if name not in (None, _OWN):
            values["source"] = name
        elif values.get("source") is None:
            values["source"] = class_of(values)
        if values["source"].startswith("FlowMatch"):
            values["use_flow_sigmas"] = True  # so that pipelines leave the sigmas to the scheduler
        return super().from_config(values, return_unused_kwargs, **options)

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation that a pipeline starts from."""
        alpha, sigma = self._layout.steps.levels(self._layout.times[0])
        return math.hypot(float(alpha), float(sigma))

    @property
    def begin_index(self) -> int | None:
        """Where a pipeline said that it begins."""
        return self._begin_index

    @property
    def step_index(self) -> int | None:
        """The index of the next step; None before the first."""
        return self._next

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this step, for image to image."""
        self._begin_index = as_count(begin_index, "begin_index", 0)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
        sigmas: Sequence[float] | Tensor | None = None,
        mu: float | None = None,
    ) -> None:
        """Lay out the times of so many evaluations, or take those that are given.

        Arguments:
            num_inference_steps: the number K of evaluations, 1 or more.
            device: of ``timesteps``, the times that the network is told.
            timesteps: the times that the network shall be told, falling.
            sigmas: the noise levels sigma / alpha, of flow matching sigma before its shift; a 0 at
                the end is left out.
            mu: the log of a dynamic shift.

        Raises:
            ValueError: none of the three, timesteps and sigmas, or values that do not fall or
                that the model was not trained on.
        """
        if num_inference_steps is None and timesteps is None and sigmas is None:
            raise ValueError("got no num_inference_steps, timesteps or sigmas; wanted one")
        if timesteps is not None and sigmas is not None:
            raise ValueError("got both timesteps and sigmas; wanted one of them")
        if mu is not None:
            linear = self.config.time_shift_type == "linear"
            self._shift = float(mu) if linear else math.exp(mu)
        count, times = 1, None
        if timesteps is not None:
            times = native(self.path, torch.as_tensor(timesteps, dtype=torch.float64))
        elif sigmas is not None:
            given = torch.as_tensor(sigmas, dtype=torch.float64)
            times = of_sigmas(self.path, given, self._shift)
        else:
            count = as_count(num_inference_steps, "num_inference_steps", 1)
        self._lay_out(count, None if times is None else falling(self.path, times), device)
        self._begin_index, self.num_inference_steps = None, len(self.timesteps)

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """What the network is given of a state: itself, but for EDM's c_in."""
        factor = self._layout.outputs[self._index(timestep)].in_
        return sample if float(factor) == 1 else sample * factor.to(sample)

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: object = None,
        return_dict: bool = True,
    ) -> Any:  # noqa: ANN401
        """One step of the default solver.

        Arguments:
            model_output: what the network said, guided or not.
            timestep: the one of ``timesteps`` that it was told.
            sample: the state that it was asked at.
            generator: taken and not used: nothing is drawn.
            return_dict: an object with ``prev_sample``, the next state, and
                ``pred_original_sample``, E[x_0 | x]; otherwise the tuple of both.

        Raises:
            ValueError: a time that is none of ``timesteps``, or an output of another shape.
        """
        if self.num_inference_steps is None:
            raise ValueError("got a step before set_timesteps; call set_timesteps first")
        k, x = self._index(timestep), single(sample)
        if model_output.shape[1:] != sample.shape[1:]:
            channels = sample.shape[1]
            if model_output.shape[1] != 2 * channels:
                raise ValueError(
                    f"got an output of shape {tuple(model_output.shape)} for states of shape "
                    f"{tuple(sample.shape)}; wanted the same"
                )
            model_output = model_output[:, :channels]  # the rest is a learned variance
        if self._walk is None or k != self._next or self._state.shape != sample.shape:
            walk = self._walk = self._layout.steps.walk(self._layout.times[k:], x)
            given = x
        else:
            walk, same = self._walk, torch.equal(self._returned, sample)
            given = self._state if same else x
            if not same:
                walk.changed()
        x0, n = self._layout.means(k, x, model_output.to(x))
        self._state = walk.advance(given, x0, n)
        self._returned, self._next = self._state.to(sample.dtype), k + 1
        if not return_dict:
            return self._returned, x0.to(sample.dtype)
        return DDIMSchedulerOutput(self._returned, x0.to(sample.dtype))

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The states at these times, as the network is told them: alpha x_0 + sigma n."""
        told = torch.as_tensor(timesteps, device="cpu").double().reshape(-1)
        alpha, sigma = self._layout.steps.levels(self._layout.native(told))
        shape = (-1, *[1] * (original_samples.ndim - 1))
        alpha, sigma = (v.to(original_samples.device).reshape(shape) for v in (alpha, sigma))
        x0 = single(original_samples)
        return (alpha.to(x0) * x0 + sigma.to(x0) * noise.to(x0)).to(original_samples.dtype)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """`add_noise`, as pipelines of flow matching call it."""
        return self.add_noise(sample, noise, timestep)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def _lay_out(
        self, steps: int, times: Tensor | None, device: str | torch.device | None
    ) -> None:
        std, principal = self._data
        solver = StepwisePath(
            self.path.schedule, std, principal, self.config.guidance_scale, self._shift
        )
        if times is None:
            times = solver.times(steps, first_time(self.path))
        self._layout = Layout(self.path, solver, times)
        self.timesteps, self.sigmas = self._layout.told.to(device), self._layout.sigmas
        self._walk = self._next = None

    def _index(self, timestep: float | Tensor | None) -> int:
        expected = self._begin_index or 0 if self._next is None else self._next
        return self._layout.index(timestep, expected)


def _path(config: Mapping[str, Any]) -> SchedulerPath:
    """The path of a configuration.

    Raises:
        ValueError: it states none, or one of a pipeline that no step of this kind serves.
    """
    source = config["source"]
    given = {key: value for key, value in config.items() if value is not None}
    path = scheduler_path({**given, "_class_name": source})
    if path.pixels != (-1.0, 1.0):
        raise ValueError(
            f"{source}: its pipeline steps by a predictor and a corrector of its own; take "
            "diffode.interop.from_diffusers for such a model"
        )
    return path
