"""The trainer: a generator of states.

``for state in train(objective, data, steps=700, batch=512): ...`` does one step for each state.
Progress bars, plots and early stops are the caller's loop body; closing the generator leaves a
checkpoint.

A step is a function of (seed, step): its samples come from a permutation keyed on (seed, epoch),
its noise from counters keyed on (seed, step, row of the global batch). So a resumed run is the
same run, and several processes (``torchrun``) draw what one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from diffode.devices import choose
from diffode.doors import as_labels, as_state
from diffode.options import Count, Positive
from diffode.rng import Rng
from diffode.training import checkpoint
from diffode.training.batches import Batches
from diffode.training.ema import average_of
from diffode.training.objective import Objective, Phase
from diffode.training.record import Record
from diffode.training.suitability import warn_of

Data = Tensor | tuple[Tensor, Tensor | None]


_MOST_SKIPPED = 20  # fp16 updates in a row whose gradient overflowed


class Diverged(ValueError):
    """A loss or gradient that is not finite; the newest checkpoint has the last good weights."""


@dataclass(frozen=True)
class TrainState:
    """What a step did.

    Attributes:
        step: how many steps are done, 1 after the first.
        steps: how many there will be.
        losses: the loss of each phase, over the global batch.
        grad_norm: the gradient's norm before clipping, of each phase.
        lr: the learning rate of each phase.
        logs: what the objective notes beside its losses.
        seconds: since this call of `train` began.
        objective: what is trained.
        averaged: the moving average of what is sampled, or the thing itself.
        checkpoint: the file written after this step, if one was.
    """

    step: int
    steps: int
    losses: dict[str, float]
    grad_norm: dict[str, float]
    lr: dict[str, float]
    logs: dict[str, float]
    seconds: float
    objective: Objective
    averaged: nn.Module | None
    checkpoint: Path | None


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate: linear warm-up, then half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(1, warmup))
    return rise * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


def train(
    objective: Objective,
    data: Data,
    *,
    steps: Count = 700,
    batch: Count = 512,
    seed: Annotated[int, Ge(0)] = 0,
    out: Path | None = None,
    resume: Path | None = None,
    lr: Positive = 2e-3,
    warmup: Annotated[int, Ge(0)] = 100,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    clip: Positive = 1.0,
    ema: Annotated[float, Gt(0), Lt(1)] = 0.999,
    accumulate: Count = 1,
    precision: Literal["no", "bf16", "fp16"] = "no",
    device: str = "auto",
    save_every: Count = 500,
    keep: Count = 2,
    log_every: Count = 10,
    tensorboard: bool = False,
) -> Generator[TrainState, None, None]:
    """Train an objective, one state for each step.

    Arguments:
        objective: from `diffode.build`, or your own.
        data: samples (M, *event), or a pair of samples and labels (M,).
        steps: optimiser steps in all.
        batch: samples in a step, over all processes.
        seed: of the order of the samples and of all noise.
        out: the run directory for checkpoints and metrics; None writes nothing.
        resume: a checkpoint or run directory to go on from.
        lr: the peak learning rate.
        warmup: steps of linear warm-up; a cosine follows.
        weight_decay: of AdamW.
        clip: the largest norm of the gradient.
        ema: the decay of the moving average; after k steps (1 + k) / (10 + k) if that is less.
        accumulate: pieces that a process takes its share of the batch in.
        precision: of the network's arithmetic, bf16 or fp16 on a GPU.
        device: "auto", "cpu" or "cuda".
        save_every: steps between checkpoints.
        keep: checkpoints kept.
        log_every: steps between lines of metrics.jsonl.
        tensorboard: also write TensorBoard event files (needs the tensorboard extra).

    Raises:
        ValueError: options or data that do not fit, before anything is written.
        Diverged: a loss or gradient that is not finite.
    """
    x, y = data if isinstance(data, tuple) else (data, None)
    x, y = _checked(objective, x, y)
    warn_of(objective, x, resumed=resume is not None)
    phases = objective.phases()
    accelerator = _accelerator(device, precision, len(phases) > 1)
    shards = accelerator.num_processes * accumulate
    if batch % shards:
        raise ValueError(f"batch {batch} does not divide into {shards} equal pieces; change batch")
    header, tensors = ({}, {}) if resume is None else checkpoint.read(checkpoint.find(resume))
    first = int(header.get("step", 0))
    if first >= steps:
        raise ValueError(f"the run has had {first} of {steps} steps; ask for more steps to go on")

    objective.to(accelerator.device)
    objective.begin(steps)
    if tensors:
        checkpoint.require_same(header, objective)
        checkpoint.fill(objective, tensors)
    target = objective.averaged
    average = None if target is None else average_of(target, ema)
    if average is not None and tensors:
        checkpoint.load_average(average.module, tensors)
        average.n_averaged.fill_(first)
    optimisers = {p.name: _optimiser(p, lr, weight_decay) for p in phases}
    for name, optimiser in optimisers.items():
        checkpoint.load_optimiser(objective, optimiser, tensors, name)
    base = {n: [g["lr"] for g in o.param_groups] for n, o in optimisers.items()}
    wrapped = accelerator.prepare(objective)
    prepared = {n: accelerator.prepare(o) for n, o in optimisers.items()}

    batches, rng = Batches(x, y, batch, seed), Rng(seed)
    share = torch.arange(batch).chunk(shards)[accelerator.process_index * accumulate :][
        :accumulate
    ]
    repeats = sum(p.repeat for p in phases)
    main = accelerator.is_main_process
    record = Record(out, first, save_every, keep, log_every, tensorboard) if out and main else None
    logs: dict[str, float] = {}
    began = time.perf_counter()

    def update(phase: Phase, tick: int) -> tuple[float, float]:
        """One optimiser step: the loss over the global batch and the gradient's norm."""
        total = torch.zeros((), device=accelerator.device)
        for k, rows in enumerate(share):
            bx, by = batches.at(tick, rows)
            bx, by = bx.to(accelerator.device), None if by is None else by.to(accelerator.device)
            with _sync(accelerator, wrapped, k == accumulate - 1):
                loss, noted = wrapped(phase.name, bx, by, rng.at(tick).rows(rows))
                accelerator.backward(loss / accumulate)
            total += loss.detach() / accumulate
        logs.update({name: float(value) for name, value in noted.items()})
        params = [p for g in optimisers[phase.name].param_groups for p in g["params"]]
        norm = accelerator.clip_grad_norm_(params, clip)
        loss_value = float(accelerator.reduce(total, "mean"))
        return loss_value, float(norm)

    def state_file(done: int) -> Path | None:
        if record is None:
            return None
        module = None if average is None else average.module
        return record.save(objective, done, module, optimisers)

    done, skipped = first, 0
    try:
        for step in range(first, steps):
            losses, norms, rates = {}, {}, {}
            logs.clear()
            tick = step * repeats
            for phase in phases:
                factor = (phase.schedule or (lambda s, n: warm_cosine(s, n, warmup)))(step, steps)
                for group, lr0 in zip(
                    optimisers[phase.name].param_groups, base[phase.name], strict=True
                ):
                    group["lr"] = rates[phase.name] = lr0 * factor
                for _ in range(phase.repeat):
                    loss, norm = update(phase, tick)
                    tick += 1
                    overflow = precision == "fp16" and math.isfinite(loss)  # the scaler skips it
                    if not (math.isfinite(loss) and (math.isfinite(norm) or overflow)):
                        what = "loss" if not math.isfinite(loss) else "gradient"
                        whole = done and tick == step * repeats + 1  # no update of this step yet
                        saved = state_file(done) if whole else out and checkpoint.newest(out)
                        raise Diverged(_diverged(what, step, phase.name, saved))
                    prepared[phase.name].step()
                    skipped = skipped + 1 if accelerator.optimizer_step_was_skipped else 0
                    if skipped == _MOST_SKIPPED:
                        raise Diverged(_diverged("gradient", step, phase.name, state_file(done)))
                    objective.zero_grad()  # of all phases: a loss may reach another's weights
                    losses[phase.name], norms[phase.name] = loss, norm
            objective.advance(step, rng.at(step))
            if average is not None and target is not None:
                average.update_parameters(target)
            done = step + 1
            due = done % save_every == 0 or done == steps
            seconds = time.perf_counter() - began
            written = state_file(done) if due else None
            if record is not None:
                record.log(done, steps, losses, norms, rates, logs, seconds)
            module = target if average is None else average.module
            yield TrainState(
                done, steps, losses, norms, rates, dict(logs), seconds, objective, module, written
            )
    except GeneratorExit:
        state_file(done)
        raise
    finally:
        accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        if record is not None:
            record.close()


def _checked(objective: Objective, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The data, converted where they are not floating-point, if the objective can learn them."""
    event = tuple(objective.field.event_shape)
    x = as_state(x, name="data")
    if tuple(x.shape[1:]) != event or len(x) == 0:
        raise ValueError(f"got data of shape {tuple(x.shape)}; this field learns (M, {event})")
    if not bool(x.isfinite().all()):
        raise ValueError("the data has values that are not finite; remove those samples")
    y = as_labels(y, len(x), name="samples")
    classes = None if objective.spec is None else objective.spec.classes
    if y is None and classes:
        raise ValueError(f"got data without labels; this field learns {classes} classes of them")
    if y is not None and classes:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= classes:
            raise ValueError(f"got labels {low} to {high}; this field knows 0 to {classes - 1}")
    return x, y


def _accelerator(device: str, precision: str, unused: bool) -> Any:  # noqa: ANN401  # accelerate is untyped
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, PartialState

    cpu = choose(device).type == "cpu"
    if PartialState(cpu=cpu).num_processes == 1:  # a second run in one process may choose anew
        AcceleratorState._reset_state(reset_partial_state=True)
    keywords = DistributedDataParallelKwargs(find_unused_parameters=unused)
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[keywords])
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("fp16 needs a GPU; use precision no or bf16")
    return accelerator


def _optimiser(phase: Phase, lr: float, weight_decay: float) -> Optimizer:
    params = list(phase.params)
    if phase.optimiser is not None:
        return phase.optimiser(params)
    return AdamW(params, lr=lr, betas=phase.betas, weight_decay=weight_decay, fused=True)


def _sync(accelerator: Any, model: nn.Module, last: bool) -> Any:  # noqa: ANN401
    """Let processes exchange gradients in the last piece of a step only."""
    from contextlib import nullcontext

    return nullcontext() if last else accelerator.no_sync(model)


def _diverged(what: str, step: int, phase: str, saved: Path | None) -> str:
    where = f"the last good weights are in {saved}" if saved else "there was nothing to save"
    return (
        f"the {what} is not finite at step {step + 1}, phase {phase!r}; {where}; lower lr or clip"
    )
