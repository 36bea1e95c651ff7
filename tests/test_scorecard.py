"""The scorecard: what it says of made-up answers is right, and of the study it says what can be read elsewhere."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from conftest import ROOT

from flowcal.challenge import LOADS, OUTPUTS, PUBLISHED
from flowcal.decide.problems import PROBLEMS
from flowcal.report import scoring
from flowcal.report.scorecard import (
    SCORECARD,
    _of_designs,
    _of_flattening,
    _of_intervals,
    counting_error,
    write_scorecard,
)
from flowcal.simulate.windfarm import WindFarm

KEPT = ROOT / "artifacts" / "quick" / SCORECARD


def bounds(upper):
    """Prediction intervals from 1 to `upper`."""
    alphas, sides = [0.95, 0.999], ["lower", "upper"]
    values = np.broadcast_to([1.0, upper], (len(alphas), len(OUTPUTS), 2))
    coordinates = {"alpha": alphas, "output": list(OUTPUTS), "side": sides}
    return xr.Dataset({"bound": (("alpha", "output", "side"), values)}, coordinates)


def test_bounds_are_held_against_the_truths_in_their_own_reading():
    readings = {
        "time flattened": {"UM1": bounds(300.0), "truth": bounds(400.0)},
        "per trajectory": {"UM1": bounds(1500.0), "truth": bounds(1200.0)},
    }
    entries = {(entry["quantity"], entry["by"]): entry for entry in _of_intervals(readings)}
    short = entries["upper bound of y4, alpha 0.95, time flattened", "UM1"]
    assert (short["answer"], short["truth"], short["holds"]) == (300.0, 400.0, False)
    assert short["distance"] == pytest.approx(-0.25)
    assert entries["upper bound of y4, alpha 0.95, per trajectory", "UM1"]["holds"]
    # Each team is judged in the reading that it took, and where it published nothing nothing is said of it.
    assert entries["upper bound of y4, alpha 0.999, time flattened", "Wang et al."]["answer"] == 1841.96
    assert entries["upper bound of y4, alpha 0.999, per trajectory", "Roy Sarkar et al."]["answer"] == 1914.0
    assert ("upper bound of y4, alpha 0.999, per trajectory", "Wang et al.") not in entries
    assert ("lower bound of y4, alpha 0.999, per trajectory", "Roy Sarkar et al.") not in entries


def judged(**rows):
    """Designs as `score_designs` returns them, from (shortfall, pof) by name."""
    shortfall, pof = np.transpose(list(rows.values()))
    variables = {
        "shortfall": ("design", shortfall),
        "pof": ("design", pof),
        "x_c": (("design", "input"), np.zeros((len(rows), 3))),
    }
    return xr.Dataset(variables, {"design": list(rows)})


def test_designs_are_held_against_the_truths_own():
    design = {"x_c": [0.1, 0.2, 0.3], "j": [7.9, 0.01], "pof_over_f_a": [1e-5, 5e-4]}
    refused = {"refused": "too few hours"}
    found = {
        "truth": {"designs": dict.fromkeys(PROBLEMS, design | {"j": [8.0, 0.0]})},
        "UM1": {"designs": dict.fromkeys(PROBLEMS, refused)},
        "UM2": {"designs": dict.fromkeys(PROBLEMS, design)},
    }
    rows = {f"{by}, {problem}": (0.3, 2e-4) for by in (*PUBLISHED, "UM2") for problem in PROBLEMS}
    rows |= {f"truth, {problem}": (0.1, 1e-4) for problem in PROBLEMS}
    entries = {(entry["quantity"], entry["by"]): entry for entry in _of_designs(found, judged(**rows))}
    assert entries["performance: X_c", "UM2"]["distance"] == pytest.approx(0.2)
    assert entries["reliability: X_c", "UM2"]["distance"] == pytest.approx(2.0)
    assert entries["epsilon 1e-3: X_c", "UM2"]["holds"]
    assert not entries["epsilon 1e-4: X_c", "UM2"]["holds"]
    promised = entries["performance: J [MW]", "UM2"]
    assert (promised["answer"], promised["truth"]) == (7.9, pytest.approx(7.7))
    assert entries["epsilon 1e-3: pof", "UM2"]["holds"]  # 5e-4 promised, 2e-4 had
    assert not entries["epsilon 1e-3: pof", "Roy Sarkar et al."]["holds"]  # 0 promised
    assert not any(by == "UM1" for _, by in entries)


def test_shares_beyond_are_paired_by_reading():
    readings = ["time flattened", "per trajectory"]
    shares = xr.DataArray(
        [[[0.02]], [[0.001]]], {"reading": readings, "alpha": [0.999], "output": ["y4"]}, ["reading", "alpha", "output"]
    )
    (choice,) = _of_flattening(shares)
    assert (choice["as_published"], choice["instead"], choice["aim"]) == (0.02, 0.001, 0.001)


def test_counting_error_is_that_of_a_share():
    counts = np.random.default_rng(1).binomial(1000, 0.01, size=20_000) / 1000
    assert counting_error(0.01, 1000) == pytest.approx(counts.std() / 0.01, rel=0.02)


def test_a_number_that_json_does_not_know_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_scorecard(tmp_path / SCORECARD, {"answers": [{"distance": math.nan}]})


def test_bounds_that_are_quantiles_of_true_hours_are_broken_as_often_as_they_allow():
    control = (0.5, 0.5, 0.5)
    peaks = scoring.true_hours(WindFarm(), control, 20_000, random_seed=1).y.max("time").sel(output=list(LOADS))
    quantiles = peaks.quantile([0.9, 0.99], "sample").rename(quantile="alpha").to_dataset(name="bound")
    share = scoring.score_bounds(quantiles, WindFarm(), control, 20_000, random_seed=2).share
    assert share.sel(alpha=0.9).values == pytest.approx(0.1, rel=0.1)
    assert share.sel(alpha=0.99).values == pytest.approx(0.01, rel=0.25)


def test_a_design_scored_twice_scores_the_same_and_the_best_gives_up_nothing():
    best, other = (0.5, 0.5, 0.5), (0.1, 0.9, 0.2)
    scored = scoring.score_designs({"a": best, "b": other, "c": other}, best, WindFarm(), 500, 3000, random_seed=1)
    assert scored.shortfall.sel(design="a") == 0
    assert scored.shortfall.sel(design="b") == scored.shortfall.sel(design="c")
    assert scored.pof.sel(design="b") == scored.pof.sel(design="c")
    assert scored.x_c.sel(design="b").values.tolist() == list(other)


@pytest.mark.skipif(not KEPT.exists(), reason="the chapters have not been run; 'make book' runs them")
def test_the_studys_own_scorecard_has_all_that_was_published():
    answers = json.loads(KEPT.read_text())["answers"]
    found = {(answer["quantity"], answer["by"]): answer for answer in answers}
    for team, entry in PUBLISHED.items():
        score = scoring.score_box(entry)
        for name, interval in entry.x_e_intervals.items():
            assert found[name, team]["answer"] == list(interval)
            assert found[name, team]["distance"] == pytest.approx(score["missed_by"][name], abs=1e-6)
        assert found["volume of E", team]["holds"] == score["contains"]
        for problem, design in entry.designs.items():
            assert found[f"{problem}: X_c", team]["answer"] == list(design.x_c)
    for by in ("UM1", "UM2"):
        assert {f"{problem}: X_c" for problem in PROBLEMS} & {quantity for quantity, who in found if who == by}
