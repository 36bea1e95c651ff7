"""What published verdicts come to, on noisy and wrong boxes and on readings of the paper, as numbers to show."""

import json

import numpy as np
import pytest

from flowcal.report.boxes import BOXES
from flowcal.study import find_root

PUBLISHED = find_root() / "book" / "published" / "boxes.json"


@pytest.mark.parametrize("key", BOXES)
def test_e_of_each_box(key, measured):
    """E holds the truth of at least nine systems in ten."""
    rows = json.loads(PUBLISHED.read_text()).get(key, [])
    if not rows:
        pytest.skip(f"no system has been judged on the box {key}; `flowcal score --boxes N` does so.")
    held, volumes = sum(row["contains"] for row in rows), [row["volume"] for row in rows]
    values = {"systems": len(rows), "held": held} | ({"held_of_100": held} if len(rows) == 100 else {})
    values["median_volume"] = float(f"{np.median(volumes):.3g}")
    if rows[0]["fisher"]:
        values["volume_over_fisher"] = round(float(np.median([row["volume"] / row["fisher"] for row in rows])), 2)
    measured({f"inference.{key}.{name}": value for name, value in values.items()})
    assert held >= 0.9 * len(rows)


def test_readings_of_the_paper(measured):
    """How many readings of the paper's second step and of its designs have been judged."""
    kept = json.loads(PUBLISHED.with_name("readings.json").read_text())
    epistemic = sum(len(row["readings"]) for row in kept["epistemic"])
    design = sum(len(row["searches"]) for row in kept["design"])
    measured({"rebuild.readings_epistemic": epistemic, "rebuild.readings_design": design})
    assert min(epistemic, design) >= 200
