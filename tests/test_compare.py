"""Two commits compared: what is timed exists, and the table pairs what belongs together."""

import json
import subprocess

import pytest

from benchmarks.compare import BASELINE, HERE, main, package, table
from benchmarks.measures import MEASURES, ratios


def test_the_table_pairs_the_rounds_of_both_versions():
    told = table(("a", "b"), {"draws": [1.0, 2.0, 4.0]}, {"draws": [2.0, 4.0, 8.0], "new": [1.0]})
    assert "| draws | 2 (1.5 to 3) | 4 (3 to 6) | 2 (2 to 2) |" in told
    assert "| new | - | 1 | - |" in told


def test_a_ratio_is_the_operation_over_its_reference():
    work = sum
    own = ratios((lambda: [work(range(3000)) for _ in range(8)], lambda: work(range(3000))), 3)
    assert len(own) == 3 and all(v > 2 for v in own)


def test_what_is_stored_is_what_is_timed():
    assert json.loads(BASELINE.read_text()).keys() == MEASURES.keys()


@pytest.mark.skipif(not (HERE.parent / ".git").exists(), reason="no history to compare")
def test_two_commits_are_timed_by_one_command(capsys, tmp_path):
    main(["HEAD", "HEAD", "--rounds", "1", "--only", "512 x 2"])
    title, _, row = capsys.readouterr().out.splitlines()
    assert "| HEAD | HEAD |" in title and row.count(" | ") == 3 and "-" not in row
    ours = subprocess.run(
        ["git", "-C", HERE, "show", "HEAD:diffode/rng.py"], capture_output=True, check=True
    )
    assert (package("HEAD", tmp_path) / "diffode/rng.py").read_bytes() == ours.stdout
    with pytest.raises(SystemExit, match="no-such-commit"):
        package("no-such-commit", tmp_path)


def test_a_part_is_not_stored_and_one_commit_is_not_compared(capsys):
    for wrong in (["--store", "--only", "draws"], ["HEAD"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
