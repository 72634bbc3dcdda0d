"""The explorer's scripts run by QuickJS, with arrays in and out as JSON."""

import json
import math

import pytest
import torch

from diffode.explore.page_files import MATHEMATICS, script

quickjs = pytest.importorskip("quickjs")


class Scripts:
    """The page's mathematics; call a snippet of JavaScript with named values."""

    def __init__(self):
        self.context = quickjs.Context()
        for name in MATHEMATICS:
            self.context.eval(script(name))

    def __call__(self, code, **values):
        """What code returns; infinities travel as strings, arrays become Float64Arrays."""
        given = json.dumps({k: _plain(v) for k, v in values.items()})
        names = ", ".join(values)
        body = f"""(function (given) {{
            const read = (v) => Array.isArray(v) && typeof v[0] === "number"
                ? Float64Array.from(v) : v === "inf" ? Infinity : v;
            const known = JSON.parse(given);
            for (const key of Object.keys(known)) known[key] = read(known[key]);
            const {{ {names} }} = known;
            const out = (function () {{ {code} }})();
            const write = (k, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v);
            return JSON.stringify(out, write);
        }})"""
        return json.loads(self.context.eval(body)(given))


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value.flatten().tolist()
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def rows(values, n=2):
    """A list of numbers as rows of n."""
    return torch.tensor(values, dtype=torch.float64).view(-1, n)


def numbers(values):
    """A list of numbers as they are, in float64."""
    return torch.tensor(values, dtype=torch.float64)
