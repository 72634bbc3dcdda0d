"""What the files of a comparison hold is JSON: an error that is not known is null there."""

import json
import math

from diffode.bench.stored import Portrait, read_part, with_errors, write_part


def test_an_error_that_is_not_known_is_null_in_a_file_and_nan_for_the_report(tmp_path):
    path, pairs = tmp_path / "x.json", {"energy": [0.5, math.nan], "w2": [0.25, 0.125]}
    write_part(path, {"metrics": pairs, "straightness": (1.0, math.inf)})
    stored = json.loads(path.read_text(), parse_constant=lambda text: 1 / 0)
    assert stored == {
        "metrics": {"energy": [0.5, None], "w2": [0.25, 0.125]},
        "straightness": [1.0, None],
    }
    back = with_errors(stored)["metrics"]
    assert math.isnan(back["energy"][1]) and back["w2"] == [0.25, 0.125]
    assert read_part(path, Portrait)["straightness"] == [1.0, None]
