"""The scorecard: distances from the truth are right, its file is read strictly, tables show what it holds."""

import copy
import json
from functools import partial

import numpy as np
import pytest
from conftest import ROOT

from flowcal.challenge import BASELINE, LOADS, POWERS, PUBLISHED
from flowcal.decide.design import DESIGN_PROBLEMS
from flowcal.decide.failure import sampled_pof
from flowcal.decide.plane import AleatoryPlane
from flowcal.errors import InputError
from flowcal.files import as_record, read_record, write_json
from flowcal.report.book import draw_answer
from flowcal.report.scorecard import (
    READINGS,
    Scorecard,
    aleatory_table,
    bounds_table,
    designs_table,
    epistemic_table,
    summary_table,
)
from flowcal.report.truth import REBUILT, judge_by_truth, true_uncertainty_model
from flowcal.simulate.windfarm import WindFarm

TEAM = "Wang et al."
TABLES = (
    epistemic_table,
    aleatory_table,
    designs_table,
    summary_table,
    *(partial(bounds_table, outputs=LOADS + POWERS, reading=reading) for reading in READINGS.values()),
)


def a_set(volume, contains=True, least_distance=0.0):
    return {
        "low": [0.26, 0.5, 0.0],
        "high": [0.41, 0.6, 0.500001],
        "volume": volume,
        "contains": contains,
        "least_distance": least_distance,
        "best_guess": [0.3, 0.5, 0.2],
        "best_guess_distance": 0.0123,
    }


def a_bound(source, bound, error, distance, reading="per trajectory"):
    return {
        "source": source,
        "reading": reading,
        "alpha": 0.999,
        "output": "y4",
        "side": "upper",
        "bound": bound,
        "error": error,
        "distance": distance,
    }


def a_design(source, problem, pof, difference=-0.08, x_c=(0.1, 0.2, 0.3)):
    verdict = {
        "difference": difference,
        "difference_error": 0.001,
        "pof": pof,
        "pof_error": pof / 100,
        "pof_upper": 1e-4,
        "pof_sum": 2 * pof,
    }
    return {
        "source": source,
        "problem": problem,
        "x_c": x_c and list(x_c),
        "claimed_j": None,
        "claimed_pof": 0.0,
        "judged": verdict if x_c else None,
    }


F_A = {
    "mean": [0.2, 0.3],
    "standard_deviation": [0.1, 0.2],
    "correlation": -0.5,
    "energy_distance": 0.04,
    "energy_distance_error": 0.001,
}
CARD = {
    "version": "0.1.0",
    "profile": "quick",
    "epistemic": {TEAM: a_set(1e-5, False, 0.02), "UM1": a_set(0.1), "UM2": a_set(1e-12), "truth": a_set(0.0)},
    "aleatory": {"UM1": F_A, "UM2": F_A | {"energy_distance": 0.0002}, "truth": F_A},
    "bounds": [
        a_bound(TEAM, 700.0, None, -1300.0),
        a_bound("UM2", 1990.0, 20.0, -10.0),
        a_bound("truth", 2000.0, 10.0, 0.0),
    ],
    "designs": [
        a_design("UM2", "epsilon 1e-4", 0.0),
        a_design(TEAM, "performance", 2e-3),
        a_design("UM2", "reliability", 1e-8),
        a_design("UM1", "epsilon 1e-4", 1.0, x_c=None),
        a_design(REBUILT["uniform"], "epsilon 1e-4", 3e-4),
    ],
    "baseline": a_design("baseline", "performance", 3e-5)["judged"],
    "best_j": 8.0,
    "coverage": {"fixed seed": [0.5, 0.25]},
}


def card(**changes):
    """The scorecard with some parts changed."""
    return as_record(Scorecard, CARD | changes, "the scorecard")


def cells(table, first):
    """The cells of the row that begins with a text, by the header's names."""
    header, _, *rows = ([cell.strip() for cell in line.split(" | ")] for line in table.splitlines())
    (found,) = (row for row in rows if row[0].removeprefix("| ") == first)
    return dict(zip(header, found, strict=True))


def test_what_is_written_is_read_back(tmp_path):
    write_json(tmp_path / "scorecard.json", card())
    assert json.loads((tmp_path / "scorecard.json").read_text()) == CARD
    assert read_record(Scorecard, tmp_path / "scorecard.json") == card()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["version"], "0.1.0 | <b>"),
        (["more"], 1),
        (["epistemic"], {}),
        (["epistemic", "UM1", "low"], [0.1, 0.2]),
        (["epistemic", "UM1", "volume"], 2.0),
        (["epistemic", "UM1", "contains"], "yes"),
        (["aleatory", "a|b"], F_A),
        (["aleatory", "{download}`x`"], F_A),
        (["bounds", 0, "bound"], float("nan")),
        (["bounds", 0, "output"], "y7"),
        (["designs", 0, "problem"], "cheapest"),
        (["designs", 0, "judged", "pof"], "0"),
        (["baseline"], None),
        (["best_j"], 0),
        (["coverage", "fixed seed"], [0.5, 1.5]),
    ],
)
def test_what_is_of_another_form_is_refused(tmp_path, path, value):
    spoiled = copy.deepcopy(CARD)
    *way, last = path
    part = spoiled
    for step in way:
        part = part[step]
    part[last] = value
    (tmp_path / "scorecard.json").write_text(json.dumps(spoiled))
    with pytest.raises(InputError, match=r"scorecard.json cannot be used"):
        read_record(Scorecard, tmp_path / "scorecard.json")


def test_tables_show_distances_and_misses():
    sets = epistemic_table(card())
    assert cells(sets, TEAM)["$X_e^*$ is"] == "outside by 0.020"
    assert cells(sets, "UM1")["$X_e^*$ is"] == "inside"
    assert cells(sets, "UM1")["$X_{e3}$"] == "[0.00, 0.50]"
    bounds = cells(bounds_table(card(), LOADS, "per trajectory"), "0.999")
    assert bounds[TEAM] == "700 (-1,300)"
    assert bounds["UM2"] == "1,990 ± 20 (-10)"
    assert bounds["truth |"] == "2,000 ± 10 |"
    designs = designs_table(card()).splitlines()
    assert "| performance | Wang et al. | [0.100, 0.200, 0.300] |  | 1.000 ± 0.025 | 0 | 2.0e-03 ± 4e-05 |" in designs
    assert "| epsilon 1e-4 | UM2 | [0.100, 0.200, 0.300] |  | 1.000 ± 0.025 | 0 | below 1e-04 |" in designs
    assert "| epsilon 1e-4 | UM1 | refused |  |  | 0 |  |" in designs


def test_what_rounds_to_nothing_has_no_minus():
    assert "| -0.000 " not in designs_table(card(designs=[a_design("UM2", "performance", 1e-8, difference=1e-9)]))
    assert "-0.00" not in aleatory_table(card(aleatory={"UM2": F_A | {"correlation": -1e-4}}))
    bound = a_bound("UM2", 50.0, 1.0, -1e-4)
    assert "(+0.00)" in bounds_table(card(bounds=[bound]), LOADS, "per trajectory")


def test_the_summary_has_a_column_a_source():
    table = summary_table(card())
    volume = cells(table, "volume of $E$")
    assert list(volume.values())[1:] == ["1e-05, misses $X_e^*$", "1e-01", "1e-12", "a point |"]
    assert list(cells(table, "most reliable: true pof").values())[1:] == ["", "", "1e-08", "|"]
    constrained = cells(table, "$\\epsilon = 10^{-4}$: true pof")
    assert list(constrained.values())[1:] == ["", "3e-04", "below 1e-04", "|"]  # UM1's by the rebuilt swarm


def test_designs_are_judged_at_the_truth():
    best, poor = [0.6, 0.4, 0.7], list(BASELINE)
    budget = {"hours": 2000, "random_seed": 4}
    judged = judge_by_truth({"same": best, "poor": poor}, best, WindFarm(), pof_calls=3000, **budget)
    assert judged["same"]["difference"] == judged["same"]["difference_error"] == 0
    assert judged["poor"]["difference"] < -5 * judged["poor"]["difference_error"] < 0
    truth = true_uncertainty_model()
    (x_e, _) = truth.e.bounding_box
    alone = sampled_pof(AleatoryPlane(truth.f_a), WindFarm(), x_e, poor, calls=3000, random_seed=4)
    assert judged["poor"]["pof"] == alone.pof.sel(failure="system").item() > 0


@pytest.fixture(params=["artifacts/quick/scorecard.json", "book/published/scorecard.json"])
def made(request):
    """A scorecard that a run of the chapters has made."""
    path = ROOT / request.param
    if not path.exists():
        pytest.skip(f"no {request.param}; 'make book' makes it")
    return read_record(Scorecard, path)


def test_published_quantities_are_all_on_it(made):
    for team, entry in PUBLISHED.items():
        box = made.epistemic[team]
        assert list(zip(box.low, box.high, strict=True)) == list(entry.x_e_intervals.values())
        bounds = [row for row in made.bounds if row.source == team]
        known = [end for by in entry.prediction.values() for pair in by.values() for end in pair if not np.isnan(end)]
        assert [row.bound for row in bounds] == known
        designs = {row.problem: row.x_c for row in made.designs if row.source == team}
        assert designs == {name: design.x_c for name, design in entry.designs.items()}
    for model in ("UM1", "UM2", "truth"):
        assert {row.problem for row in made.designs if row.source == model} == set(DESIGN_PROBLEMS)
        assert len([row for row in made.bounds if row.source == model]) == 2 * 2 * 6 * 2


def test_distances_are_from_the_truth(made):
    truth = np.array(made.epistemic["truth"].low)
    assert truth == pytest.approx(true_uncertainty_model().e.bounding_box[0])
    for row in made.epistemic.values():
        inside = np.clip(truth, row.low, row.high)
        assert row.least_distance >= np.linalg.norm(truth - inside) - 1e-12
        assert row.contains == (row.least_distance == 0)
        if row.best_guess:
            assert row.best_guess_distance == pytest.approx(np.linalg.norm(truth - row.best_guess))
    of_truth = {}
    for row in made.bounds:
        if row.source == "truth":
            of_truth[row.reading, row.alpha, row.output, row.side] = row.bound
    for row in made.bounds:
        assert row.distance == row.bound - of_truth[row.reading, row.alpha, row.output, row.side]
    for row in made.designs:
        if (row.source, row.problem) == ("truth", "performance"):
            assert row.judged.difference == 0


def test_every_table_can_be_made_of_it(made):
    for table in TABLES:
        lines = table(made).splitlines()
        assert len(lines) > 2
        assert len({line.replace("\\|", "").count(" | ") for line in lines}) == 1


def test_the_picture_can_be_drawn_of_it(made, tmp_path):
    draw_answer(made, tmp_path / "answer.svg")
    assert "this book" in (tmp_path / "answer.svg").read_text()
