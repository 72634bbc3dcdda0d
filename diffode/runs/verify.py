"""Whether what a TARGET is made of is what was written: the lines of ``diffode verify``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffode import code
from diffode.data import source_of
from diffode.devices import choose
from diffode.inputs import brief
from diffode.interop.edm import is_edm
from diffode.interop.folders import HUB, is_pipeline
from diffode.options import counted
from diffode.runs import history
from diffode.runs.dataset import load_data
from diffode.runs.plan import CONFIG, MEMORY, Plan
from diffode.runs.published import published
from diffode.runs.redrawn import redrawn
from diffode.runs.results import RESULTS, SUMS, read_sums, sha256
from diffode.runs.run import home
from diffode.training import best, checkpoint
from diffode.training.record import METRICS, logged

_AGAIN = "delete it and give diffode train --resume {} to make it anew"
_NUMBERED = re.compile(r"step-([0-9]{8,})")
_WEIGHTS = (".safetensors", ".bin", ".pkl", ".pt", ".pth")


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: the thing.
        ok: whether it is as it was written; None where that cannot be told.
        said: what was found, and what to do where something is wrong.
    """

    what: str
    ok: bool | None
    said: str

    def __str__(self) -> str:
        word = "unknown" if self.ok is None else "ok" if self.ok else "wrong"
        return f"{word:9}{brief(f'{self.what}: {self.said}')}"


@dataclass(frozen=True)
class Verification:
    """What to verify.

    Attributes:
        target: a run directory, a checkpoint, or the files of others.
        data: where the run's data are now; None is where they were.
        samples: how many samples to draw again; 0 for none.
        device: to draw them on.
        trust: whether code that the run names may be run.
        progress: called with the number of samples that are drawn.
    """

    target: str
    data: str | None = None
    samples: int = 16
    device: str = "auto"
    trust: bool = False
    progress: Callable[[int], None] | None = None

    def findings(self) -> Iterator[Finding]:
        """What is found, one thing after the other.

        Raises:
            ValueError: nothing there that could be verified, a device or data that are not there,
                or code that may not be run.
            OSError: data that cannot be read.
        """
        path = Path(self.target)
        choose(self.device)
        if is_pipeline(path) or (path.exists() and is_edm(path)):
            return _foreign(path)
        if path.is_dir() and ((path / CONFIG).exists() or checkpoint.newest(path)):
            return self._run(path)
        if path.suffix == ".safetensors" and path.exists():
            return _alone(path, _plan(home(path), self.trust))
        if path.exists() or code.place(self.target) or self.target.startswith(HUB):
            why = "holds no run, no checkpoint and no pipeline"
        else:
            why = "does not exist"
        raise ValueError(
            f"{self.target} {why}; give a run directory, a .safetensors checkpoint of diffode, or "
            "the folder or file that others published"
        )

    def _run(self, folder: Path) -> Iterator[Finding]:
        """The lines on a run directory."""
        plan = _plan(folder, self.trust)
        if isinstance(plan, Plan):
            what = f"{code.short(plan.field)} on {brief(plan.data)}, {counted(plan.steps, 'step')}"
            yield Finding(CONFIG, True, f"{what}, seed {plan.seed}")
        else:
            yield plan
        yield _history(folder)
        if isinstance(plan, Plan):
            yield self._data(plan)
        files = sorted((folder / "checkpoints").glob("*.safetensors"))
        for file in files:
            yield _checkpoint(file, plan)
        if not files:
            yield Finding("checkpoints", None, "there is none")
        elif best.BEST not in [file.name for file in files] and any(map(best.figure, files)):
            yield Finding(best.BEST, False, "is not there, though held-out losses were measured")
        yield _metrics(folder)
        yield from _results(folder)
        if isinstance(plan, Plan) and self.samples and (folder / "samples.npz").exists():
            yield self._drawn(folder, plan)

    def _data(self, plan: Plan) -> Finding:
        """Whether the data are those that the run was trained on."""
        if self.data is not None:
            plan = replace(plan, data=self.data, source=source_of(self.data))
        if plan.fingerprint is None:
            return Finding("data", None, "the run is of an earlier version and has no fingerprint")
        if plan.source == MEMORY:
            return Finding("data", None, "they were in memory; give them with --data FILE")
        try:
            load_data(plan)
        except (OSError, ValueError) as error:
            changed = "is not the data that this run was trained on" in str(error)
            if self.data is not None and not changed:
                raise
            more = "" if changed else "; say where they are now with --data"
            return Finding("data", False if changed else None, f"{error}{more}")
        return Finding("data", True, f"{plan.data} has the fingerprint of {CONFIG}")

    def _drawn(self, folder: Path, plan: Plan) -> Finding:
        """Whether samples come out again."""
        what = f"{self.samples} of samples.npz drawn again"
        try:
            n, agree, said = redrawn(
                folder, plan, self.samples, self.device, self.trust, self.progress
            )
        except (OSError, ValueError) as error:
            return Finding(what, None, brief(str(error), 400))
        if agree is False:
            again = _AGAIN.format(folder)
            said += f"; samples.npz, the checkpoint or the code has changed: {again}"
        return Finding(f"{n} of samples.npz drawn again", agree, said)


def _plan(folder: Path, trust: bool) -> Plan | Finding:
    """The plan of a run, or what is wrong with its file.

    Raises:
        ValueError: code that may not be run.
    """
    if not (folder / CONFIG).exists():
        return Finding(CONFIG, None, "is not there, so only what checkpoints say is known")
    try:
        return Plan.read(folder, trust=trust)
    except ValueError as error:
        if "--trust" in str(error):
            raise
        return Finding(CONFIG, False, f"{error}; put a copy of the file back")


def _history(folder: Path) -> Finding:
    """What is known of how the run was made."""
    lines = history.read(folder)
    if not lines and (folder / history.HISTORY).exists():
        return Finding(history.HISTORY, None, "has no line that can be read")
    if not lines:
        why = "is not there: the run is of an earlier version, or was not trained by a command"
        return Finding(history.HISTORY, None, why)
    last, now = lines[-1], history.circumstances(torch.device("cpu"))["versions"]
    begun = counted(len(lines), "line")
    known = last["versions"] if isinstance(last["versions"], dict) else {}
    then = {k: v for k, v in known.items() if now.get(k) not in (None, v)}
    other = ", ".join(f"{k} {brief(str(v), 30)}, now {now[k]}" for k, v in then.items())
    if lines[0]["step"] != 0:
        said = f"{begun}, but none of step 0, where the training began"
        return Finding(history.HISTORY, None, said)
    device = brief(str(last["device"]), 60)
    versions = f"then {other}" if other else "versions as now"
    return Finding(history.HISTORY, True, f"{begun}, the last on {device}; {versions}")


def _alone(file: Path, plan: Plan | Finding) -> Iterator[Finding]:
    """The lines on a checkpoint that was named."""
    yield _checkpoint(file, plan)
    if not isinstance(plan, Plan):
        why = "no run is around it; samples cannot be drawn again and data not be compared"
        yield Finding("the rest", None, why)
        return
    yield Finding("the rest", None, f"give {home(file)} to verify the whole run")


def _checkpoint(file: Path, plan: Plan | Finding) -> Finding:
    """Whether a checkpoint has its checksum, finite weights and the options of its run."""
    try:
        header, tensors = checkpoint.opened(file)
    except ValueError as error:
        return Finding(file.name, False, str(error))
    size = sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6
    about = f"step {header['step']}, {counted(len(tensors), 'tensor')}, {size:.1f} MB"
    odd = [k for k, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if odd:
        said = f"{counted(len(odd), 'tensor')} with values that are not finite ({odd[0]:.80})"
        return Finding(file.name, False, f"{about}; {said}; go on from an older one")
    if (named := _NUMBERED.fullmatch(file.stem)) and int(named[1]) != header["step"]:
        return Finding(file.name, False, f"{about}; its name has another step; take another copy")
    if isinstance(plan, Plan) and (other := _other(header, plan)):
        return Finding(file.name, False, f"{about}; it is of another run: {other}")
    if header["format"] == 1:
        return Finding(file.name, None, f"{about}; format 1 has no checksum")
    return Finding(file.name, True, f"{about}, the content has its SHA-256")


def _other(header: Mapping[str, Any], plan: Plan) -> str:
    """The first option that a checkpoint and its run do not share; empty where there is none."""
    pairs = {"field": (header["recipe"], plan.field)}
    trained = header.get("training", {})  # format 1 does not say
    for own, given in ((header["options"], plan.options), (trained, plan.training)):
        for key in own.keys() & given.keys() - {"steps"}:
            if given[key] is not None:  # else it was open, and the checkpoint has what was chosen
                pairs[key] = own[key], given[key]
    different = sorted(key for key, (one, two) in pairs.items() if one != two)
    return "; ".join(
        f"{key} {brief(str(pairs[key][0]), 40)}, in {CONFIG} {brief(str(pairs[key][1]), 40)}"
        for key in different[:1]
    )


def _metrics(folder: Path) -> Finding:
    """The log of the losses."""
    lines = logged(folder)
    if not lines:
        return Finding(METRICS, None, "has no line that can be read; training goes on without it")
    return Finding(METRICS, True, f"{counted(len(lines), 'line')} up to step {lines[-1]['step']}")


def _results(folder: Path) -> Iterator[Finding]:
    """Whether the results are as they were written."""
    try:
        sums = read_sums(folder)
    except (OSError, ValueError) as error:
        yield Finding(SUMS, False, f"{error}; {_AGAIN.format(folder)}")
        return
    if not sums:
        there = [name for name in RESULTS if (folder / name).exists()]
        why = "the run is of an earlier version" if there else "the training has not ended"
        yield Finding(SUMS, None, f"is not there: {why}")
    for name, known in sums.items():
        try:
            now = sha256(folder / name)
        except (OSError, ValueError) as error:
            yield Finding(name, False, f"{error}; {_AGAIN.format(folder)}")
            continue
        if now != known:
            yield Finding(name, False, f"has changed since; {_AGAIN.format(folder)}")
        else:
            yield Finding(name, True, f"has the SHA-256 of {SUMS}")


def _foreign(path: Path) -> Iterator[Finding]:
    """The lines on what others published."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file.suffix in _WEIGHTS:
            name = file.name if path.is_file() else file.relative_to(path).as_posix()
            said = f"SHA-256 {sha256(file)}; compare it with what the publisher states"
            yield Finding(name, None, said)
    try:
        field = published(path)
        yield Finding("opens", True, brief(repr(field), 200))
    except (OSError, ValueError) as error:
        yield Finding("opens", False, str(error))
    why = "such files hold no checksum, no seed and no data, so no more can be told"
    yield Finding("the rest", None, why)
