"""Files of options in TOML, YAML and JSON: of trainings and of comparisons."""

import json

import yaml

from tests.fuzz.dice import changed, with_its_data

TRAIN = {
    "field": "edm",
    "data": "moons",
    "steps": 1,
    "batch": 4,
    "width": 8,
    "depth": 1,
    "lr": 0.002,
    "labels": True,
    "solver": "heun",
    "seed": 1,
    "ema": 0.9,
}
COMPARE = {
    "fields": ["edm", "vp"],
    "data": ["moons"],
    "solvers": ["heun", "dopri5:rtol=.1"],
    "nfe": [4],
    "tolerances": [0.3],
    "seeds": [0],
    "samples": 60,
    "device": "cpu",
    "metrics": ["energy"],
    "guidance": [1.0],
    "budget": "heun@4",
    "options": {"vp": {"beta_max": 10}},
    "train": {"steps": 1, "batch": 4, "width": 8, "depth": 1},
}
NAMES = ("os:system", "../outside/canary.py:field", "canary:field", "../outside/secret.npy")
TEXTS = (
    "",
    "\ufeff{}",
    "&a [*a]",
    "a: &a [1]\nb: [*a,*a]\n",
    "!!python/object/apply:os.system ['touch ../executed']",
    "? {a: b}\n: c\n",
    "1: 2\n",
    "- a\n",
    "a = 1\na = 2\n",
    "[a]\n[a]\n",
    "a: 2001-01-01\nb: 0o17\n",
    "a = 1979-05-27T07:32:00Z\n",
    "a: " + "[" * 5000,
    '{"a": ' + "[" * 5000,
    "a = " + "[" * 5000,
    "a: " + "9" * 5000,
    "\0",
    "%YAML 9.9\n---\na: 1\n",
    "<<: {a: 1}\n",
    "a: .nan\nb: .inf\nsteps: 1e400\n",
    "steps: 1_0\n",
    "lr: 1:30\n",
)


def make(dice, place):
    """A file of options, and a command that reads it."""
    trains = dice.often(0.6)
    content = TRAIN if trains else COMPARE
    keys = dice.some(content, len(content)) if dice.often(0.5) else list(content)
    content = {key: content[key] for key in [*keys, *("width", "depth") * trains]}
    for _ in range(dice.randrange(3)):
        if isinstance(content, dict):
            content = changed(dice, content)
    if dice.often(0.15) and isinstance(content, dict) and content:
        key = dice.choice(list(content))
        content[key] = (
            [dice.choice(NAMES)] if isinstance(content[key], list) else dice.choice(NAMES)
        )
    content = with_its_data(content, TRAIN if trains else COMPARE)
    kind = dice.choice(["toml", "yaml", "yml", "json"])
    data = _written(content, kind).encode("utf-8", "surrogatepass")
    how = dice.random()
    if how < 0.12:
        data = dice.choice(TEXTS).encode()
    elif how < 0.3:
        data = dice.damaged(data)
    with open(f"c.{kind}", "wb") as file:
        file.write(data)
    if not trains:
        return ["bench", f"c.{kind}", "--dry-run"]
    small = ["--batch", "4", "--samples", "20", "--device", "cpu", "--steps", "1"]
    small += ["--dry-run"] if dice.often(0.96) else []
    return ["train", "--config", f"c.{kind}", *small]


def _written(content, kind):
    if kind == "json":
        return json.dumps(content)
    if kind != "toml" or not isinstance(content, dict):
        return yaml.dump(content, sort_keys=False)
    plain = {k: v for k, v in content.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in content.items() if isinstance(v, dict)}
    lines = [f"{json.dumps(k)} = {_toml(v)}" for k, v in plain.items()]
    for name, table in tables.items():
        lines += [
            f"[{json.dumps(name)}]",
            *(f"{json.dumps(k)} = {_toml(v)}" for k, v in table.items()),
        ]
    return "\n".join(lines) + "\n"


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return "''" if value is None else json.dumps(value)
