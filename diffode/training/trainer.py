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
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt

from diffode import devices, processes
from diffode.data.fingerprint import Split
from diffode.options import Count, Positive
from diffode.training.batches import Batches
from diffode.training.best import HeldOut, require_comparable
from diffode.training.hardware import Hardware, Precision
from diffode.training.learner import Learner, Start
from diffode.training.objective import Objective
from diffode.training.record import Record, TrainState
from diffode.training.schedule import TrainingOptions
from diffode.training.setup import Data, beside, checked, require_pieces
from diffode.training.suitability import warn_of
from diffode.training.transforms import Transform
from diffode.training.update import NotFinite, Updates

__all__ = ["Diverged", "TrainState", "train"]


STEPS, BATCH = 700, 512  # of a training that states none


class Diverged(ValueError):
    """A loss or gradient that is not finite; the newest checkpoint has the last good weights."""


def train(
    objective: Objective,
    data: Data,
    held_out: Data | None = None,
    *,
    steps: Count | None = None,
    batch: Count | None = None,
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
    precision: Precision = "no",
    flip: bool = False,
    crop: Annotated[int, Ge(0)] = 0,
    device: str = "auto",
    deterministic: bool = False,
    shard: bool = False,
    workers: Annotated[int, Ge(0)] = 0,
    save_every: Count = 500,
    keep: Count = 2,
    keep_best: bool = False,
    log_every: Count = 10,
    tensorboard: bool = False,
) -> Generator[TrainState, None, None]:
    """Train an objective, one state for each step.

    Arguments:
        objective: from `diffode.build`, or your own.
        data: samples (M, *event), a pair of samples and labels (M,), or a `Batch` of all of them
            with what else belongs to each.
        held_out: samples that are not trained on, as ``data``, for ``keep_best``.
        steps: optimiser steps in all; without a value 700, in a run 1,400 for points of fewer
            than 8 values and 5,000 for images, or what the recipe states.
        batch: samples in a step, over all processes; without a value 512, in a run of images 32
            on a CPU and 128 on a GPU, or what the recipe states.
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
        precision: of the network's arithmetic: bf16 on a GPU, or on a CPU that computes in it
            (avx512_bf16, AMX), where a step takes half the time; fp16 on a GPU.
        flip: mirror each image, left for right, with probability 1/2; the recipe's ``flip_label``
            tells the network, so that none is drawn mirrored.
        crop: move each image by up to so many pixels, its edges repeated.
        device: "auto", "cpu" or "cuda".
        deterministic: use algorithms of torch alone that give the same numbers each time on one
            device (`diffode.devices.deterministic`), while the generator is open. A GPU is slower
            so; on a CPU nothing changes.
        shard: let each process hold a part of every weight, of its gradient, its average and the
            optimiser's state, for networks that are too large for one GPU
            (`diffode.training.sharded`); in one process it changes nothing.
        workers: processes that read the batches of coming steps, where samples are read when they
            are asked for; the batches are the same with any number (`diffode.training.workers`).
        save_every: steps between checkpoints.
        keep: checkpoints kept, the newest ones.
        keep_best: keep the one of the least loss on held-out samples too, of those that are due
            every ``save_every`` steps and at the end (`diffode.training.best`).
        log_every: steps between lines of metrics.jsonl.
        tensorboard: also write TensorBoard event files (needs the tensorboard extra).

    Raises:
        ValueError: options or data that do not fit, or not those of the training that is resumed,
            or a run directory that another process holds; before anything is written.
        Damaged: the checkpoint to go on from is not what was written.
        Diverged: a loss or gradient that is not finite.
    """
    steps, batch = steps or STEPS, batch or BATCH
    samples = checked(objective, data)
    transform = Transform(flip, crop)
    transform.require(objective, samples)
    warn_of(objective, samples.x, samples.y, resumed=resume is not None)
    phases = objective.phases()
    if keep_best and shard:
        raise ValueError("got keep_best and shard; give one of the two")
    if keep_best:
        require_comparable(objective, held_out is not None, out)
    require_pieces(batch, processes.place().total * accumulate)
    hardware = Hardware(device, precision, unused=len(phases) > 1)
    start = Start.at(resume)
    options = TrainingOptions(
        seed=seed,
        batch=batch,
        lr=lr,
        warmup=warmup,
        clip=clip,
        ema=ema,
        weight_decay=weight_decay,
        accumulate=accumulate,
        precision=precision,
        flip=flip,
        crop=crop,
        steps=steps,
        since=start.since(steps) if since is None else since,
    )
    split = Split.of(samples.x, samples.y, beside(samples)) if out or resume else None
    start.require(objective, options, split)
    spread = shard and hardware.count > 1
    home = torch.device("cpu") if spread else hardware.device
    learner: Learner = Learner(objective, phases, options, home, start)
    if spread:
        from diffode.training.sharded import ShardedLearner

        learner = ShardedLearner(learner, hardware)
    updates = Updates(learner, Batches(samples, batch, seed, transform), hardware, workers)
    facts = {**asdict(options), "data": None if split is None else asdict(split)}
    record = Record(out, start.step, keep, log_every, tensorboard, facts)
    held = None
    if keep_best and held_out is not None:
        held = HeldOut(checked(objective, held_out), learner, hardware)
    with _ended(learner, updates, record), devices.deterministic(deterministic):
        yield from _steps(learner, updates, record, save_every, held)


def _steps(
    learner: Learner, updates: Updates, record: Record, save_every: int, held: HeldOut | None
) -> Iterator[TrainState]:
    """The loop: rates, the updates of all phases, what the objective does itself, the average."""
    began, objective, steps = time.perf_counter(), learner.objective, learner.options.steps
    for step in range(learner.done, steps):
        rates = learner.set_rates()
        try:
            outcomes = updates(step)
        except NotFinite as found:
            raise _diverged(found, learner, updates, record) from None
        except processes.Lost as lost:
            raise processes.Lost(f"{lost}; {_kept(learner, updates, record, True)}") from None
        objective.advance(step, updates.rng.at(step))
        learner.update_average()
        learner.done = step + 1
        seconds = time.perf_counter() - began
        due = learner.done % save_every == 0 or learner.done == steps
        state = TrainState(
            step=learner.done,
            steps=steps,
            losses={name: outcome.loss for name, outcome in outcomes.items()},
            grad_norm={name: outcome.norm for name, outcome in outcomes.items()},
            lr=rates,
            logs={k: v for outcome in outcomes.values() for k, v in outcome.logs.items()},
            seconds=seconds,
            objective=objective,
            averaged=learner.average,
            checkpoint=None,
            held_out=held.loss() if due and held is not None else None,
        )
        record.log(state)  # before the checkpoint: what goes on from there has the lines up to it
        yield replace(state, checkpoint=record.save(learner, state.held_out)) if due else state


def _diverged(found: NotFinite, learner: Learner, updates: Updates, record: Record) -> Diverged:
    """The error that says where the last good weights are, which are saved if they are at hand."""
    return Diverged(
        f"the {found.what} is not finite at step {learner.done + 1}, phase {found.phase!r}; "
        f"{_kept(learner, updates, record)}; lower lr or clip"
    )


def _kept(learner: Learner, updates: Updates, record: Record, lost: bool = False) -> str:
    """Where the last good weights are, which are saved if they are at hand.

    Where a process was lost its parts of a network that is shared out are lost too.
    """
    whole = learner.done > 0 and not updates.moved and not (lost and learner.in_parts)
    saved = record.save(learner) if whole else record.newest()
    return f"the last good weights are in {saved}" if saved else "there was nothing to save"


@contextmanager
def _ended(learner: Learner, updates: Updates, record: Record) -> Iterator[None]:
    """Close what a training holds once its block ends, with a checkpoint if the caller stops it.

    A generator that is left open is closed at the end of the program, while modules still work.
    """
    ended = False

    def end(save: bool) -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        try:
            if save:
                record.save(learner)
        finally:
            updates.close()
            record.close()

    atexit.register(end, True)
    try:
        yield
    except GeneratorExit:
        end(True)
        raise
    finally:
        end(False)
        atexit.unregister(end)
