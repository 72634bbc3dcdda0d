"""What a check of a field finds: one line each, with its evidence and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Mistake(AssertionError):
    """A failed check that knows the likely mistake.

    Arguments:
        name: of the mistake, such as "sign".
        message: what is wrong, in a few words.
        evidence: the figures that show it.
        advice: what to do.
    """

    def __init__(self, name: str, message: str, evidence: str, advice: str) -> None:
        self.name, self.message, self.evidence, self.advice = name, message, evidence, advice
        super().__init__(f"{message}: {evidence}; {advice}")


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: the check's name.
        ok: whether all is well; None where the check cannot tell.
        message: what was found.
        evidence: the figures that show it.
        advice: what to do, if something is wrong.
        mistake: the name of the likely mistake, or empty.
        others: names of mistakes that explain the figures as well.
        applies: whether the check applies to this field at all; ``ok`` is None where not.
    """

    check: str
    ok: bool | None
    message: str
    evidence: str = ""
    advice: str = ""
    mistake: str = ""
    others: tuple[str, ...] = ()
    applies: bool = True

    @property
    def line(self) -> str:
        """Message, evidence and advice in one line."""
        text = self.message + (f": {self.evidence}" if self.evidence else "")
        return text + (f"; {self.advice}" if self.advice else "")

    def __str__(self) -> str:
        mark = {True: "ok", None: "?", False: "WRONG"}[self.ok] if self.applies else "-"
        return f"{mark:6}{self.check:16}{self.line}"


class Steepness(NamedTuple):
    """How fast the velocity changes at one time.

    Attributes:
        t: the time.
        rho: sigma / alpha there; None for a field without a schedule.
        lipschitz: the largest singular value of the velocity's Jacobian over a few points.
        divergence: the mean divergence over these points.
    """

    t: float
    rho: float | None
    lipschitz: float
    divergence: float


@dataclass(frozen=True)
class Report:
    """Everything that `diffode.testing.diagnose` found out about a field.

    Attributes:
        field: the field's repr.
        findings: one of each check.
        steepness: the Lipschitz constant over t.
    """

    field: str
    findings: tuple[Finding, ...]
    steepness: tuple[Steepness, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(f.ok is not False for f in self.findings)

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The names of the mistakes found, the likeliest first."""
        return tuple(dict.fromkeys(f.mistake for f in self.failures() if f.mistake))

    def failures(self) -> list[Finding]:
        """The findings that are wrong, those with a name first."""
        return sorted((f for f in self.findings if f.ok is False), key=lambda f: not f.mistake)

    def table(self) -> str:
        """The Lipschitz constant over t, a line for each time; empty if it was not measured."""
        if not self.steepness:
            return ""
        head = f"{'t':>10}  {'rho':>10}  {'Lipschitz':>10}  {'divergence':>10}"
        rows = (
            "  ".join(f"{'-':>10}" if v is None else f"{v:>10.4g}" for v in row)
            for row in self.steepness
        )
        return "\n".join((head, *rows))

    def __str__(self) -> str:
        lines = [self.field, *map(str, self.findings)]
        return "\n".join((*lines, *([self.table()] if self.steepness else [])))
