"""Choices that are the same wherever and whenever a case is made again."""

import random


class Dice(random.Random):
    """Random numbers of one case."""

    def __init__(self, kind, seed, number):
        super().__init__(f"{kind} {seed} {number}")

    def often(self, chance):
        """True so often."""
        return self.random() < chance

    def some(self, values, most):
        """At least one of them and at most so many, each once."""
        values = list(values)
        return self.sample(values, min(len(values), self.randint(1, most)))

    def damaged(self, data):
        """Bytes with a few changes: flipped, cut off, repeated, filled, exchanged."""
        data = bytearray(data)
        for _ in range(self.choice([1, 1, 2, 5])):
            here, there = sorted(self.randrange(len(data) + 1) for _ in range(2))
            if self.often(0.5):  # near the beginning, where headers are
                here, there = (
                    min(k, len(data), 200 * k // (len(data) + 1)) for k in (here, there)
                )
            how = self.randrange(6)
            if how == 0 and here < len(data):
                data[here] ^= 1 << self.randrange(8)
            elif how == 1:
                del data[here:]
            elif how == 2:
                data[here:here] = data[here:there][: 2**16]
            elif how == 3:
                data[here : here + 4] = self.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
            elif how == 4:
                data[here:here] = self.randbytes(self.randint(1, 9))
            else:
                del data[here : here + self.randint(1, 9)]
        return bytes(data)


DATA = ("data", "prior_data", "source", "prior_source")
HUGE = (2**31, 2**63 - 1, 2**64, 10**30)
HOSTILE = (  # <fuzz> and onfuzz are looked for in every page
    "</script><fuzz>",
    "<fuzz onfuzz=1>",
    '" onfuzz="1',
    "' onfuzz='1",
    "${fuzz}",
    "](javascript:fuzz)",
    "\x1b[31mred",
    "a\nb",
    "a\rb",
    "tab\there",
    "\u202eright",
    "-n",
    "%s{}{0}",
    "x" * 3000,
    "../outside/secret.npy",
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "/",
    "",
    " ",
    "\u00e9\U0001f600",
)


def odd(dice, depth=2):
    """Any value that JSON can hold, and some that it should not."""
    kinds = [
        lambda: None,
        lambda: dice.choice([True, False]),
        lambda: dice.choice([0, 1, -1, 2, 7, *HUGE, -(10**12)]),
        lambda: dice.choice([0.5, -1.5, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")]),
        lambda: dice.choice(HOSTILE),
        lambda: [odd(dice, depth - 1) for _ in range(dice.randrange(4))] if depth else [],
        lambda: {dice.choice(HOSTILE): odd(dice, depth - 1)} if depth else {},
        lambda: eval("[" * 80 + "]" * 80),
    ]
    return dice.choice(kinds)()


def changed(dice, value):
    """A JSON value with one place in it changed, left out or added."""
    if isinstance(value, dict) and value and dice.often(0.9):
        key, made = dice.choice(list(value)), dict(value)
        how = dice.randrange(8)
        if how == 0:
            del made[key]
        elif how == 1:
            made[dice.choice([*HOSTILE, f"{key}s"])] = made.pop(key)
        elif how == 2:
            made[dice.choice([*HOSTILE, "extra"])] = odd(dice)
        else:
            made[key] = changed(dice, value[key])
        return made
    if isinstance(value, list) and value and dice.often(0.8):
        made, k = list(value), dice.randrange(len(value))
        how = dice.randrange(4)
        if how == 0:
            del made[k]
        elif how == 1:
            made.insert(k, made[k])
        else:
            made[k] = changed(dice, made[k])
        return made
    if isinstance(value, int | float) and dice.often(0.5):
        return dice.choice([-value, 2 * value, value + 1, value / 3, 0, str(value), *HUGE])
    if isinstance(value, str) and dice.often(0.4):
        return dice.choice([value.upper(), value + "x", value[:-1], value + dice.choice(HOSTILE)])
    return odd(dice)


def with_its_data(content, stored):
    """The content, where it names the one file that may lie anywhere as it was: the data."""
    for key in DATA if isinstance(content, dict) else ():
        if any(place in str(content.get(key)) for place in ("outside", "/etc")):
            content[key] = stored.get(key)
    return content
