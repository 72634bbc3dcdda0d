"""What a command may do with any input: answer whole, or refuse in one line and touch nothing."""

import io
import re
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field

from diffode.cli.app import run
from tests.fuzz.outputs import fault_of
from tests.fuzz.watch import Hung, begin_peak, peak

MEMORY = 512 * 2**20, 60  # bytes that any command may take, and times its input beside them
FAULTS = (
    "traceback",
    "hang",
    "half-written",
    "executed",
    "outside",
    "memory",
    "wrong answer",
    "message",
)
_UNFORESEEN = ("not foreseen", "Traceback", "out of memory", "Error: ", "object at 0x")
LONG = ("train", "distil", "reflow", "eval", "bench")  # what they finished, a later one takes up
_SHOWN = r"\t\n\x20-\x7e\xa0-\u200d\u2010-\u2027\u2030-\U0010ffff"  # no control characters
_KEPT = (".refused.npz",)  # numbers that a refusal keeps for inspection, and says so


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        ended: "refused", "answered" or "neither".
        faults: by kind, what was wrong.
        said: the last line on the standard error.
        seconds: of the clock.
        memory: bytes at the peak beyond those before.
    """

    ended: str = "neither"
    faults: dict[str, str] = field(default_factory=dict)
    said: str = ""
    seconds: float = 0.0
    memory: int = 0

    def content(self):
        """As JSON holds it."""
        return asdict(self)


def judge(place, watch, arguments):
    """Run a command in the working directory, and hold what it does to the rules."""
    before = place.snapshot()
    sizes = sum(path.stat().st_size for path in place.work.rglob("*") if path.is_file())
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=e) for e in ("strict", "replace"))
    made, code, raised = Outcome(), None, None
    base, begun = begin_peak(), time.monotonic()
    try:
        with watch.watching(), redirect_stdout(out), redirect_stderr(err):
            code = run(arguments)
    except Hung as hung:
        made.faults["hang"] = str(hung)
    except BaseException as error:
        raised = f"{type(error).__name__}: {error}"
    made.seconds, made.memory = time.monotonic() - begun, max(0, peak() - base)
    printed, told = (_text(stream) for stream in (out, err))
    made.said = told.splitlines()[-1][:300] if told.strip() else ""
    after = place.snapshot()
    new = [p for p in after if before.get(p) != after[p]]
    _judge_words(made, code, raised, printed, told, arguments)
    _judge_files(made, place, before, after, new, arguments)
    if watch.ran or place.executed.exists():
        made.faults["executed"] = "; ".join(watch.ran) or "the canary was run"
    if watch.strayed or place.seen():
        made.faults["outside"] = "; ".join([*watch.strayed, *map(str, place.seen())])[:500]
    if base and made.memory > MEMORY[0] + MEMORY[1] * sizes:
        made.faults["memory"] = f"{made.memory:,} bytes for {sizes:,} of input"
    return made


def _text(stream):
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "replace")


def _judge_words(made, code, raised, printed, told, arguments):
    """Whether it ended in one of the two ways, and in plain words."""
    ends = (0, 1, 2) if arguments[:1] in (["check"], ["verify"]) else (0, 2)  # 1 is "no"
    if raised is not None or code not in ends:
        if "hang" not in made.faults:
            made.faults["traceback"] = raised or f"exit code {code}: {made.said}"
        return
    made.ended = "refused" if code == 2 else "answered"
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    if code == 2 and (len(lines) != 1 or not told.endswith(lines[0] + "\n")):
        made.faults["message"] = f"{len(lines)} lines of error: {told[-300:]!r}"
    own = re.search(r"own\.py\S* raised |broken\.py cannot be imported", made.said)
    if code == 2 and not own and any(word in made.said for word in _UNFORESEEN):
        made.faults["traceback"] = made.said
    if code == 0 and (none := re.search(r".{,60}(?<![\w.<])nan(?![\w.>]).{,20}", printed, re.I)):
        made.faults["wrong answer"] = f"it says {none[0]!r}"
    words = printed + told
    for word in filter(None, arguments):
        words = words.replace(word, "")  # what was typed may be told as it was typed
    if control := re.search(f".{{,40}}[^{_SHOWN}].{{,40}}", words):
        made.faults["message"] = f"control character in {control[0]!r}"


def _judge_files(made, place, before, after, new, arguments):
    """Whether nothing is half-written, nothing touched outside, and an answer is whole."""
    left = [p for p in new if p.suffix == ".tmp"]
    stray = [p for p in {*new, *(before.keys() - after.keys())} if place.work not in p.parents]
    stray = [p for p in stray if p not in (place.work, place.executed)]
    if stray:
        made.faults["outside"] = f"changed {', '.join(map(str, stray))}"
    wrong = [fault for p in new if p.is_file() and (fault := fault_of(p, arguments))]
    if arguments[:1] and arguments[0] in LONG:
        kept = [p for p in new if p.name.endswith(_KEPT) or "parts" in p.parts]
        files = [p for p in new if p not in kept and p.is_file()]
        broken = [p for p in files if fault_of(p, arguments)]
        left += broken if made.ended == "refused" else []
    elif made.ended != "answered":
        left += [p for p in before if p in after and after[p] != before[p]]
        left += [p for p in before if p not in after]
        left += [p for p in new if p not in before and not p.name.endswith(_KEPT)]
    if left:
        made.faults["half-written"] = ", ".join(
            str(p.relative_to(place.base)) for p in sorted(set(left))
        )[:500]
    elif made.ended == "answered" and wrong:
        made.faults["wrong answer"] = "; ".join(wrong)[:500]
