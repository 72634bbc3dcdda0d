"""The fuzz suite: that it notices each fault it looks for, and that it finds none."""

import os
import pickle
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load_file

from diffode.cli.failing import explained, fail
from tests.fuzz import judge, watch
from tests.fuzz.cases import KINDS, Case, shared_out
from tests.fuzz.child import environment
from tests.fuzz.parent import ROOT, outcomes
from tests.fuzz.sandbox import Place

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it needs signals of POSIX")


@pytest.fixture(scope="module")
def hearing(tmp_path_factory):
    """One watch: what hears a process stays for as long as that lives."""
    place = Place(tmp_path_factory.mktemp("fuzz"))
    return place, watch.Watch(place)


@pytest.fixture
def verdict(hearing, monkeypatch):
    """The outcome of a command line that does what a function does."""
    place, heard = hearing
    before = os.getcwd()

    def of(function, *arguments):
        monkeypatch.setattr(judge, "run", function)
        place.begin()
        (place.work / "kept.txt").write_text("kept")
        return judge.judge(place, heard, [*arguments])

    yield of
    os.chdir(before)


def wrote(name, content=b"half"):
    with open(name, "wb") as file:
        file.write(content)


def refuse(arguments):
    print("error: got this; wanted that", file=sys.stderr)
    return 2


def loads(arguments):
    np.savez("out.npz", x=np.array([[1.0, np.nan]]))
    return 0


def unforeseen():
    return fail(explained(KeyError("x")))


PLANTED = {
    "traceback": lambda a: {}["key"],
    "message": lambda a: refuse(a) and refuse(a),
    "half-written": lambda a: wrote("new.npz") or refuse(a),
    "executed": lambda a: os.system("true"),
    "outside": lambda a: bool(open("../outside/secret.npy", "rb").close()) or 0,
    "wrong answer": loads,
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_noticed(verdict, fault):
    assert list(verdict(PLANTED[fault], "sample").faults) == [fault]


MORE = {
    "a changed file": (lambda a: wrote("kept.txt") or refuse(a), "half-written"),
    "a deleted file": (lambda a: os.remove("kept.txt") or refuse(a), "half-written"),
    "a temporary file": (lambda a: wrote(".x.0-1.tmp") or 0, "half-written"),
    "a file elsewhere": (lambda a: wrote("../x.txt") or 0, "outside"),
    "code in a pickle": (lambda a: bool(pickle.loads(b"cos\ngetcwd\n(tR.")) * 0, "executed"),
    "an escape": (lambda a: print("\x1b[31m") or 0, "message"),
    "no number": (lambda a: print("std nan") or 0, "wrong answer"),
    "markup": (lambda a: wrote("a.html", b"<p><fuzz>") or 0, "wrong answer"),
    "a broken script": (
        lambda a: wrote("a.html", b"<script>'</script><fuzz>'") or 0,
        "wrong answer",
    ),
    "another exit code": (lambda a: 3, "traceback"),
    "not foreseen": (lambda a: unforeseen(), "traceback"),
}


@pytest.mark.parametrize("what", MORE)
def test_kin_of_the_planted_faults_are_noticed(verdict, what):
    function, fault = MORE[what]
    assert fault in verdict(function, "sample").faults


def test_work_without_end_and_memory_without_bound_are_noticed(verdict, monkeypatch):
    monkeypatch.setattr(watch, "CPU", 0.2)

    def spin(arguments):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass

    assert list(verdict(spin, "sample").faults) == ["hang"]
    monkeypatch.setattr(judge, "MEMORY", (2**20, 1))
    if watch.begin_peak():
        assert list(verdict(lambda a: int(np.ones(2**23).sum()) * 0, "x").faults) == ["memory"]


def test_a_file_outside_that_is_mapped_is_noticed(verdict, hearing):
    """Python hears nothing of a file that a library opens; the file's own time tells."""
    place, _ = hearing
    place.begin()
    (place.outside / "secret.npy").read_bytes()
    if not place.seen():
        pytest.skip("these files do not keep the time at which they were read")
    read = verdict(lambda a: len(load_file("../outside/secret.safetensors")) - 1, "sample")
    assert list(read.faults) == ["outside"]


def test_a_sound_refusal_and_a_sound_answer_have_no_fault(verdict):
    one, other = verdict(refuse, "sample"), verdict(lambda a: wrote("a.txt") or 0, "sample")
    assert (one.ended, one.faults) == ("refused", {})
    assert one.said == "error: got this; wanted that"
    assert (other.ended, other.faults) == ("answered", {})


def test_a_case_is_the_same_when_it_is_made_again(tmp_path):
    lines = []
    for _ in range(2):
        place = Place(tmp_path)
        before = os.getcwd()
        lines.append([Case("idx", 3, k).make(place) for k in range(5)])
        content = [p.read_bytes() for p in sorted(place.work.rglob("*ubyte*"))]
        lines[-1].append(content)
        os.chdir(before)
    assert lines[0] == lines[1] and content


def found(count, folder):
    """What is wrong with any of so many cases, as it can be made again."""
    ends, wrong = Counter(), []
    for case, _, outcome in outcomes(shared_out(count, 0), folder.resolve()):
        ends[outcome.ended] += 1
        wrong += [f"{outcome.faults}: {case.again()}"] if outcome.faults else []
    return ends, wrong


def test_a_few_cases_of_each_kind(tmp_path):
    ends, wrong = found(4 * len(KINDS), tmp_path)
    assert wrong == [] and ends["refused"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_cases(tmp_path):
    ends, wrong = found(2000, tmp_path)
    assert wrong == [] and min(ends["refused"], ends["answered"]) > 200


def test_a_failing_case_is_printed_with_what_makes_it_again(tmp_path):
    given = ["--kind", "idx", "--seed", "3", "--case", "1", "--keep", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *given],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "diffode " in done.stdout and (tmp_path / "work").is_dir()
