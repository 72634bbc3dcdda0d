"""The benchmark for a GPU: at toy size on a CPU, and what it does when a check fails."""

import shutil

import pytest
import torch

from benchmarks import gpu
from diffode.viz.canvas import is_png


def ran(monkeypatch, *arguments):
    """The exit code of the benchmark."""
    monkeypatch.setattr("sys.argv", ["gpu", *map(str, arguments)])
    tf32 = torch.backends.cudnn.allow_tf32
    try:
        with pytest.raises(SystemExit) as end:
            gpu.main()
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    return end.value.code


@pytest.fixture
def page(tmp_path):
    return shutil.copy(gpu.PAGE, tmp_path / "page.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # of implicit_adams
def test_all_of_it_at_toy_size(page, tmp_path, monkeypatch, capsys):
    before = page.read_text(encoding="utf-8")
    assert ran(monkeypatch, "--toy", "--out", tmp_path / "out", "--page", page) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(gpu.CHECKS) + 6 + 2
    assert not torch.cuda.is_available() or not any(x.startswith("not run") for x in lines)
    for name in ("edm-unet", "poisson-dit", "rectified-unet"):
        assert is_png((tmp_path / "out" / f"{name}.png").read_bytes())
    after = page.read_text(encoding="utf-8")
    assert "a CPU, at toy size" in after and "| rectified | dit |" in after
    outside = [
        text.partition(gpu.BEGIN)[0] + text.partition(gpu.END)[2] for text in (before, after)
    ]
    assert outside[0] == outside[1]


def test_a_check_that_fails_stops_no_other_and_is_the_exit_code(
    page, tmp_path, monkeypatch, capsys
):
    def fails(bench):
        raise RuntimeError("CUDA error:\n an illegal memory access")

    monkeypatch.setattr(gpu, "CHECKS", {"first": fails, "second": lambda bench: "as it should be"})
    monkeypatch.setattr(gpu, "NETWORKS", ())
    assert ran(monkeypatch, "--toy", "--out", tmp_path / "out", "--page", page) == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("FAILED") and first.endswith("CUDA error: an illegal memory access")
    assert second.startswith("ok") and second.endswith("second: as it should be")
    assert "| first | FAILED |" in page.read_text(encoding="utf-8")


def test_without_a_gpu_nothing_is_claimed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ran(monkeypatch, "--out", tmp_path / "out") == 2
    assert "--toy" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", gpu.BEGIN, gpu.END + gpu.BEGIN, 2 * (gpu.BEGIN + gpu.END)])
def test_a_page_without_its_two_marks_is_left_alone(text, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert ran(monkeypatch, "--toy", "--out", tmp_path / "out", "--page", page) == 2
    assert "each of them once" in capsys.readouterr().err and page.read_text() == text


def test_data_without_images_or_labels_are_refused(tmp_path, monkeypatch, capsys):
    assert ran(monkeypatch, "--toy", "--data", "moons", "--out", tmp_path / "out") == 2
    assert "labelled images" in capsys.readouterr().err
