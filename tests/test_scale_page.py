"""docs/scale.md is what its script writes, and the model behaves as arithmetic must."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "scale_model.py"


def test_the_page_is_current_and_more_machines_are_never_more_efficient() -> None:
    model = runpy.run_path(str(SCRIPT))
    assert model["PAGE"].read_text() == model["page"]()
    for case in model["CASES"]:
        one, many = (model["rows"](case, nodes, 8) for nodes in (1, 64))
        assert one[:2] == many[:2]
        assert one[2] < many[2]
        assert 0 < many[3] <= one[3] <= 1
