"""Two commits compared: what is timed exists, and the table pairs what belongs together."""

import json
import subprocess

import pytest

from benchmarks import measures
from benchmarks.compare import BASELINE, HERE, main, package, table
from benchmarks.measures import MEASURES, ratios


def test_the_table_pairs_the_rounds_of_both_versions():
    told = table(("a", "b"), {"draws": [1.0, 2.0, 4.0]}, {"draws": [2.0, 4.0, 8.0], "new": [1.0]})
    assert "| draws | 2 (1.5 to 3) | 4 (3 to 6) | 2 (2 to 2) |" in told
    assert "| new | - | 1 | - |" in told


def test_a_ratio_is_the_operation_over_its_reference(monkeypatch):
    used = [0.0]

    def taking(seconds):
        return lambda: used.append(used[-1] + seconds)

    monkeypatch.setattr(measures, "_used", lambda: used[-1])
    assert ratios((taking(1 / 128), taking(1 / 512)), 3) == pytest.approx([4, 4, 4])
    assert len(used) == 1 + 4 * (4 + 16), "at least 0.03 s of each, and a round to warm up"


def test_what_is_stored_is_what_is_timed():
    assert json.loads(BASELINE.read_text()).keys() == MEASURES.keys()


def git(*words):
    return subprocess.run(["git", "-C", HERE, *words], capture_output=True, check=True).stdout


def test_two_commits_are_timed_by_one_command(capsys, tmp_path):
    try:
        git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git shows no history to compare")
    main(["HEAD", "HEAD", "--rounds", "1", "--only", "512 x 2"])
    title, _, row = capsys.readouterr().out.splitlines()
    assert "| HEAD | HEAD |" in title and row.count(" | ") == 3 and "-" not in row
    assert (package("HEAD", tmp_path) / "diffode/rng.py").read_bytes() == git(
        "show", "HEAD:diffode/rng.py"
    )
    with pytest.raises(SystemExit, match="no-such-commit"):
        package("no-such-commit", tmp_path)


def test_a_part_is_not_stored_and_one_commit_is_not_compared(capsys):
    for wrong in (["--store", "--only", "draws"], ["HEAD"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
