"""Progress where nobody watches: plain lines, the last of which says how it ended."""

import pytest

from diffode.cli import progress
from diffode.cli.progress import progress_bar


class Clock:
    """A time that passes when it is told to."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_come_every_few_seconds_and_at_the_end(clock, capsys):
    with progress_bar("train", 100) as bar:
        for step in range(1, 13):
            clock.now += 1.0
            bar.advance(step, f"loss {step}")
    assert capsys.readouterr() == (
        "",
        "train 5/100 loss 5\ntrain 10/100 loss 10\ntrain 12/100 loss 12\n",
    )


def test_a_long_task_has_few_lines(clock, capsys):
    with progress_bar("bench", 1) as bar:
        for step in range(10 * 3600):
            clock.now += 1.0
            bar.advance(step, "[moons] x: 1", total=36000)
    lines = capsys.readouterr().err.splitlines()
    assert 100 < len(lines) < 200
    assert lines[-1] == "bench 35999/36000 [moons] x: 1"


def test_nothing_is_said_of_what_never_began(capsys):
    with pytest.raises(ValueError, match="refused"), progress_bar("train", 3):
        raise ValueError("refused")
    assert capsys.readouterr() == ("", "")


def test_only_the_first_of_several_processes_tells(clock, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with progress_bar("train", 3) as bar:
        bar.advance(3)
    assert capsys.readouterr() == ("", "")
