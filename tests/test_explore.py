"""The explorer's page and its command: whole, self-contained, and safe with any text."""

import json
import re
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.explore import explorer_page
from diffode.explore.page_files import MATHEMATICS, PAGE, WORKER, joined, script, source_hash
from diffode.explore.sets import POINTS, as_set
from tests.runs import refused

HOSTILE = "</script><img src=x onerror=alert(1)>`${x}"


class Parts(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles by the order they come in."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else None
        if self.inside:
            self.texts.append((tag, dict(attrs), ""))

    def handle_data(self, data):
        if self.inside:
            tag, attrs, text = self.texts[-1]
            self.texts[-1] = tag, attrs, text + data

    def handle_endtag(self, tag):
        self.inside = None


@pytest.fixture(scope="module")
def page():
    return explorer_page()


def scripts(page):
    return {a.get("id", "page"): text for tag, a, text in Parts(page).texts if tag == "script"}


def test_the_page_runs_the_very_files_that_are_tested(page):
    found = scripts(page)
    wanted = {"mathematics": MATHEMATICS, "worker": WORKER, "page": PAGE}
    assert found.keys() == {*wanted, "content"}
    for name, files in wanted.items():
        text = "\n".join(script(file) for file in files)
        assert sha256(found[name].encode()).digest() == sha256(text.encode()).digest()


def test_the_policy_admits_these_scripts_and_nothing_from_elsewhere(page):
    rule = dict(Parts(page).tags[3][1])["content"]
    for files in (MATHEMATICS, PAGE):
        assert f"'{source_hash(joined(files))}'" in rule
    assert "default-src 'none'" in rule and "http" not in rule and "unsafe" not in rule
    assert not re.search(r"https?:|//[a-z]+\.", "".join(scripts(page).values()))
    for tag, attributes in Parts(page).tags:
        assert not (attributes.keys() & {"src", "style", "srcset"}), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert attributes.get("href", "data:,") == "data:,"


def test_every_control_has_a_label(page):
    tags = Parts(page).tags
    named = {a.get("for") for tag, a in tags if tag == "label"}
    named |= {a.get("data-for") for tag, a in tags if tag == "label"}
    for tag, a in tags:
        if tag in ("select", "input") and a.get("type") != "checkbox":
            assert (a.get("id") or a.get("data-id")) in named, a
        if tag == "canvas":
            assert a["tabindex"] == "0" and a["aria-label"]


def test_names_from_data_stay_names():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    dataset = Dataset(HOSTILE, x, x, torch.arange(30) % 2, class_names=(HOSTILE, "b"))
    page = explorer_page([dataset], HOSTILE)
    content = json.loads(scripts(page)["content"])
    assert content["sets"][0]["name"] == HOSTILE
    assert content["sets"][0]["names"] == [HOSTILE, "b"]
    tags = [tag for tag, _ in Parts(page).tags]
    assert "img" not in tags and tags.count("script") == 4


def test_sets_are_numbers_of_the_data():
    moons = load("moons")
    made = as_set(moons)
    x = torch.tensor(made["x"], dtype=torch.float64).view(-1, 2)
    assert len(x) == len(made["labels"]) == POINTS and x.abs().max() < made["reach"]
    assert float(torch.cdist(x, moons.train.double()).amin(1).max()) < 1e-4
    far = as_set(Dataset("far", moons.train + 1000, moons.test))
    assert far["reach"] < 5 and far["centre"] == pytest.approx([1000, 1000], abs=0.1)
    digits = as_set(load("digits"))
    assert digits["shape"] == [1, 8, 8] and digits["n"] == 64


@pytest.mark.parametrize("shape", [(3,), (1, 80, 80), (2, 8, 8)])
def test_data_of_other_shapes_are_refused(shape):
    x = torch.zeros(4, *shape)
    with pytest.raises(ValueError, match="the explorer shows points of shape"):
        as_set(Dataset("odd", x, x))


def test_the_command_writes_a_whole_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).normal(size=(40, 2)))
    assert run(["explore", "mine.npy", "--out", "a/e.html"]) == 0
    assert "wrote a/e.html" in capsys.readouterr().out
    text = (tmp_path / "a/e.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000 and text.endswith("</html>\n")
    assert json.loads(scripts(text)["content"])["sets"][0]["name"] == "mine.npy"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["e.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.npy"], "nowhere.npy"),
        (["--out", "page.txt"], "wanted a name that ends in .html"),
        (["dna"], "the explorer shows points of shape"),
        (["pipe"], "got pipe, a pipeline, whose data are not known"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe/model_index.json").write_text("{}")
    assert said in refused(capsys, "explore", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
