"""Who reads a schedule beside `AffineField.level` and `AffineField.rates`.

A field may have a noise level that its schedule alone does not state. Whatever reads the schedule
directly answers wrong there without a word, so each place that does stands here with a reason.
"""

import re
from pathlib import Path

import diffode

READS = re.compile(r"\bschedule\.(alpha|sigma|rates|rho|ends)\(")
SCALAR = "the scalar schedule is meant: where a time is, not what the path holds there"
REFUSES = "refuses a field whose schedule does not say all"
ALLOWED = {
    "fields/affine.py": "level and rates themselves, and the ends",
    "fields/decay.py": "the scalar factor of alpha d",
    "bench/affording.py": "sigma alone, which is one number",
    "solvers/fitted.py": "sigma alone, which is one number",
    "likelihood/card.py": "the scalar level at the data, for a report",
    "fields/guidance.py": SCALAR,
    "fields/classified.py": SCALAR,
    "fields/guided.py": SCALAR,
    "fields/ratios.py": "of an exact law that it is given, whose log-density is its own",
    "fields/reschedule.py": REFUSES,
    "solvers/grids.py": SCALAR,
    "solvers/fitting.py": SCALAR,
    "solvers/trig.py": SCALAR,
    "solvers/forms.py": "nodes of the scalar schedule",
    "solvers/multistep.py": "nodes of the scalar schedule",
    "solvers/by_coordinate.py": "the variable that all coordinates share",
    "solvers/churn.py": REFUSES,
    "sampling/editing.py": SCALAR,
    "sampling/smc.py": REFUSES,
    "testing/ends.py": "of an exact field of the scalar schedule",
    "testing/agreement.py": SCALAR,
    "testing/steepness.py": SCALAR,
    "testing/candidates.py": "of an exact field of the scalar schedule",
    "testing/attributes.py": "the schedule itself is tested",
    "training/suitability.py": SCALAR,
    "viz/trajectories.py": SCALAR,
    "viz/tour.py": SCALAR,
    "viz/clocks.py": SCALAR,
    "analysis/bound.py": REFUSES,
    "explore/tables.py": "of the schedules that its page has",
    "bench/models.py": SCALAR,
    "interop/adapters.py": REFUSES,
    "interop/layout.py": "of other libraries' paths",
    "interop/paths.py": "of other libraries' paths",
    "interop/stepping.py": "of a scalar path of its own",
}


def test_the_level_is_read_from_the_field():
    root = Path(diffode.__file__).parent
    readers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if READS.search(path.read_text())
    }
    assert readers == set(ALLOWED), "read field.level or field.rates, or say here why not"
