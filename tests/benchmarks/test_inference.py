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


def test_rebuilds_of_the_paper(measured):
    """What the paper's method finds with other training seeds, and what each change from it to ours is worth."""
    kept = json.loads(PUBLISHED.with_name("readings.json").read_text())
    card = json.loads(PUBLISHED.with_name("scorecard.json").read_text())
    best_j, um_1 = card["best_j"], card["epistemic"]["UM1"]
    chapters = {"designs": {f"{row['source']}, {row['problem']}": row["judged"] for row in card["designs"]}} | um_1

    def below(designs, name):
        return round(-100 * designs[name]["difference"] / best_j, 4)

    rebuilds, rows = (
        [chapters, *kept["rebuild"]],
        [row for stage in kept["ablation"] for row in stage["rows"] if "designs" in row],
    )
    uniform = [below(row["designs"], "rebuilt, $X_a$ uniform, performance") for row in rebuilds]
    from_f_a = [below(row["designs"], "rebuilt, $X_a$ from UM1, performance") for row in rebuilds]
    measured(
        {
            "rebuild.design_below_best_percent": uniform,
            "rebuild.design_below_best_percent_f_a": from_f_a,
            "rebuild.e_volume": [round(row["volume"], 4) for row in rebuilds],
            "rebuild.e_holds": [row["contains"] for row in rebuilds],
            "ablation": [
                [
                    row["change"],
                    float(f"{row['volume']:.3g}"),
                    float(f"{row['energy_distance']:.3g}"),
                    below(row["designs"], "performance"),
                    row["designs"]["reliability"]["pof"],
                ]
                for row in rows
            ],
        }
    )
    assert rows[-1]["contains"]
    assert rows[-1]["volume"] < min(row["volume"] for row in rebuilds)
