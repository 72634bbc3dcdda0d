"""The trainer: a generator of states.

``for state in train(objective, data, steps=700, batch=512): ...`` does one step for each state.
Progress bars, plots and early stops are the caller's loop body; closing the generator leaves a
checkpoint.

A step is a function of (seed, step): its samples come from a permutation keyed on (seed, epoch),
its noise from counters keyed on (seed, step, row of the global batch). So a resumed run is the
same run, and several processes (``torchrun``) draw what one does.
"""

from __future__ import annotations

import atexit
import math
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from diffode.data.fingerprint import Split
from diffode.options import Count, Positive
from diffode.rng import Rng
from diffode.training import checkpoint
from diffode.training.batches import Batches
from diffode.training.ema import average_of
from diffode.training.objective import Objective, Phase
from diffode.training.record import Record
from diffode.training.setup import (
    Data,
    accelerator_for,
    checked,
    factor,
    optimiser_for,
    sync,
)
from diffode.training.state import load_optimiser, require_exact
from diffode.training.suitability import warn_of

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


def train(
    objective: Objective,
    data: Data,
    *,
    steps: Count = 700,
    batch: Count = 512,
    seed: Annotated[int, Ge(0)] = 0,
    out: Path | None = None,
    resume: Path | None = None,
    since: Annotated[int, Ge(0)] | None = None,
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
        data: samples (M, *event), a pair of samples and labels (M,), or a `Batch` of all of them
            with what else belongs to each.
        steps: optimiser steps in all.
        batch: samples in a step, over all processes.
        seed: of the order of the samples and of all noise.
        out: the run directory for checkpoints and metrics; None writes nothing.
        resume: a checkpoint or run directory to go on from.
        since: the step at which the learning rate's schedule begins; None is 0, or where it began
            in the training that is resumed, or the resumed step if ``steps`` has changed.
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
        ValueError: options or data that do not fit, or not those of the training that is resumed,
            or a run directory that another process holds; before anything is written.
        Damaged: the checkpoint to go on from is not what was written.
        Diverged: a loss or gradient that is not finite.
    """
    samples = checked(objective, data)
    x, y = samples.x, samples.y
    warn_of(objective, x, y, resumed=resume is not None)
    phases = objective.phases()
    accelerator = accelerator_for(device, precision, len(phases) > 1)
    shards = accelerator.num_processes * accumulate
    if batch % shards:
        raise ValueError(f"batch {batch} does not divide into {shards} equal pieces; change batch")
    header, tensors = ({}, {}) if resume is None else checkpoint.opened(resume)
    first, facts = int(header.get("step", 0)), header.get("training", {})
    if first >= steps:
        raise ValueError(f"the run has had {first} of {steps} steps; ask for more steps to go on")
    if since is None:
        since = facts.get("since", 0) if facts.get("steps", steps) == steps else first
    learned: dict[str, Any] = {"seed": seed, "batch": batch, "lr": lr, "warmup": warmup}
    learned |= {"clip": clip, "ema": ema, "weight_decay": weight_decay}
    learned |= {"accumulate": accumulate, "precision": precision}
    split = Split.of(x, y) if out or resume else None
    if tensors:
        checkpoint.require_same(header, objective)
        checkpoint.require_training(header, learned, split)
    learned |= {"steps": steps, "since": since, "data": None if split is None else asdict(split)}

    objective.to(accelerator.device)
    objective.begin(steps)
    if tensors:
        checkpoint.fill(objective, tensors)
    target = objective.averaged
    average = None if target is None else average_of(target, ema)
    optimisers = {p.name: optimiser_for(p, lr, weight_decay) for p in phases}
    if tensors:
        module = None if average is None else average.module
        require_exact(header, tensors, objective, module, optimisers)
    if average is not None and tensors:
        checkpoint.load_average(average.module, tensors)
        average.n_averaged.fill_(first)
    for name, optimiser in optimisers.items():
        load_optimiser(objective, optimiser, tensors, name)
    base = {n: [g["lr"] for g in o.param_groups] for n, o in optimisers.items()}
    wrapped = accelerator.prepare(objective)
    prepared = {n: accelerator.prepare(o) for n, o in optimisers.items()}

    batches, rng = Batches(samples, batch, seed), Rng(seed)
    share = torch.arange(batch).chunk(shards)[accelerator.process_index * accumulate :][
        :accumulate
    ]
    repeats = sum(p.repeat for p in phases)
    main = accelerator.is_main_process
    record = None
    if out and main:
        record = Record(out, first, save_every, keep, log_every, tensorboard, learned)
    logs: dict[str, float] = {}
    began = time.perf_counter()

    def update(phase: Phase, tick: int) -> tuple[float, float]:
        """One optimiser step: the loss over the global batch and the gradient's norm."""
        total = torch.zeros((), device=accelerator.device)
        for k, rows in enumerate(share):
            piece = batches.at(tick, rows).to(accelerator.device)
            with sync(accelerator, wrapped, k == accumulate - 1):
                loss, noted = wrapped(phase.name, piece, rng.at(tick).rows(rows))
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

    ended = False

    def end(keep_state: bool) -> None:
        """Close what is open, once, with a checkpoint if that is wanted."""
        nonlocal ended
        if ended:
            return
        ended = True
        try:
            if keep_state:
                state_file(done)
        finally:
            accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
            if record is not None:
                record.close()

    def end_of_program() -> None:
        end(True)

    done, skipped = first, 0
    atexit.register(end_of_program)  # a generator left open is closed while modules still work
    try:
        for step in range(first, steps):
            losses, norms, rates = {}, {}, {}
            logs.clear()
            tick = step * repeats
            for phase in phases:
                height = factor(phase, step, steps, warmup, since)
                for group, lr0 in zip(
                    optimisers[phase.name].param_groups, base[phase.name], strict=True
                ):
                    group["lr"] = rates[phase.name] = lr0 * height
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
        end(True)
        raise
    finally:
        end(False)
        atexit.unregister(end_of_program)


def _diverged(what: str, step: int, phase: str, saved: Path | None) -> str:
    where = f"the last good weights are in {saved}" if saved else "there was nothing to save"
    return (
        f"the {what} is not finite at step {step + 1}, phase {phase!r}; {where}; lower lr or clip"
    )
