"""The multiverse: choices spread evenly, rules that do what they say, verdicts that agree with the truth."""

import numpy as np
import pytest

from flowcal.challenge import PUBLISHED, TABLE_1
from flowcal.decide.problems import compare_performance
from flowcal.infer.models import EpistemicBox
from flowcal.infer.um2_aleatory import estimator_training, train_estimator
from flowcal.report import ablation, readings, rebuild
from flowcal.report.readings import ALEATORY, DESIGN, EPISTEMIC, SEARCH, choices_of, rules
from flowcal.report.truth import score_set, true_uncertainty_model
from flowcal.simulate.observed import Source, observe
from flowcal.simulate.windfarm import WindFarm

BEST = (0.6827, 0.3705, 0.6598)
SMALL = {
    **{"flow_runs": 100, "flow_epochs": 1, "epistemic_runs": 60, "epistemic_epochs": 1, "validation_hours": 20},
    **{"surrogate_size": 300, "surrogate_width": 8, "surrogate_epochs": 1, "published_iterations": 2},
}


@pytest.fixture(scope="module")
def observed():
    return observe(Source(), TABLE_1)


@pytest.fixture(scope="module")
def f_a():
    return true_uncertainty_model().f_a.sample(500, np.random.default_rng(1)).tolist()


@pytest.mark.parametrize(
    "choices", [ALEATORY, EPISTEMIC, DESIGN, SEARCH], ids=["step 1", "step 2", "surrogate", "search"]
)
def test_choices_are_spread_evenly(choices):
    """Sixteen trainings meet every level about as often as every other, and no two are the same."""
    chosen = [choices_of(number, choices) for number in range(16)]
    assert len({str(row) for row in chosen}) == 16
    for name, levels in choices.items():
        counts = [sum(row[name] == level for row in chosen) / levels.count(level) for level in levels]
        assert max(counts) - min(counts) <= 2, (name, counts)


def test_a_number_always_chooses_the_same():
    assert choices_of(5, ALEATORY) == choices_of(5, ALEATORY)
    assert choices_of(5, SEARCH) != choices_of(6, SEARCH)


def test_every_rule_finds_a_peak():
    draws = np.random.default_rng(1).normal([0.3, 0.5, 0.7], 0.05, (4000, 3)).clip(0, 1)
    boxes = {name: box_of(draws) for name, box_of in rules().items()}
    assert all(box.contains([[0.3, 0.5, 0.7]])[0] for box in boxes.values())
    volumes = [boxes[f"shortest with {share} %"].volume for share in (90, 80, 70, 60, 50)]
    assert volumes == sorted(volumes, reverse=True)
    width = np.ptp(boxes["above half of the peak"].bounding_box, axis=0)
    assert width == pytest.approx([2.355 * 0.05] * 3, rel=0.15)  # of a normal density
    around = np.ptp(boxes["half of the draws around the joint mode"].bounding_box, axis=0)
    assert around == pytest.approx([1.349 * 0.05] * 3, rel=0.3)
    published = np.ptp(list(PUBLISHED["Wang et al."].x_e_intervals.values()), axis=1)
    assert np.ptp(boxes["the published widths"].bounding_box, axis=0) == pytest.approx(published)


@pytest.mark.parametrize("condition", ["hour and control point", "hour", "all groups"])
def test_a_training_of_step_1(observed, monkeypatch, condition):
    monkeypatch.setattr(readings, "RUNS", 100)
    monkeypatch.setattr(readings, "ALEATORY", {**ALEATORY, "condition": (condition,), "epochs": (1,)})
    verdict = readings.read_aleatory(3, WindFarm(), observed)
    assert np.shape(verdict["draws"]) == (500, 2)
    assert verdict["choices"]["condition"] == condition
    assert verdict["energy_distance"] > 0.01  # after one epoch on a hundred runs


def test_a_training_of_step_2_is_read_in_24_ways(observed, f_a, monkeypatch):
    monkeypatch.setattr(readings, "EPISTEMIC", {**EPISTEMIC, "runs": (60,), "epochs": (1,)})
    monkeypatch.setattr(readings, "HOURS", 100)
    verdict = readings.read_epistemic(1, WindFarm(), observed, [f_a])
    assert len({(row["points"], row["rule"]) for row in verdict["readings"]}) == 3 * len(rules())
    for row in verdict["readings"]:
        box = score_set(EpistemicBox(row["low"], row["high"]))
        assert row["volume"] == pytest.approx(box["volume"], rel=0.01)
        assert row["contains"] == box["contains"]
        assert np.shape(row["bounds"]) == (2, 3)


@pytest.mark.parametrize("reads_x_a", [True, False])
def test_a_surrogate_is_searched_in_several_ways(f_a, reads_x_a):
    small = {"runs": 500, "width": 8, "epochs": 1, "x_a goes in": reads_x_a}
    verdict = readings.read_design(1, WindFarm(), [f_a], BEST, small, searches=2)
    assert len(verdict["searches"]) == 2
    truth = true_uncertainty_model()
    for search in verdict["searches"]:
        x_c, below = search["performance"]["x_c"], search["performance"]["below"]
        x_e = truth.e.bounding_box[0].tolist()
        j = compare_performance(truth.f_a, WindFarm(), x_e, [BEST, x_c], 3000, 9).j.values
        assert below == pytest.approx(100 * (1 - j[1] / j[0]), abs=1)
        assert all(0 <= search[name]["pof"] <= 1 for name in readings.PROBLEMS)


def test_a_rebuild_goes_from_hours_to_designs(observed, monkeypatch):
    monkeypatch.setattr(rebuild, "HOURS", 200)
    monkeypatch.setattr(rebuild, "JUDGED_HOURS", 1100)
    verdict = rebuild.rebuild(0, WindFarm(), observed, BEST, SMALL)
    box = score_set(EpistemicBox(verdict["low"], verdict["high"]), verdict["best_guess"])
    assert {name: verdict[name] for name in box} == box
    assert np.shape(verdict["bounds"]) == (2, 3)
    assert len(verdict["designs"]) == 8  # four problems, X_a from two sources
    assert all(design["difference"] < 0.05 for design in verdict["designs"].values())


def test_the_ablation_goes_from_the_papers_way_to_ours(observed, monkeypatch):
    monkeypatch.setattr(ablation, "JUDGED_HOURS", 1100)
    ours = {"estimator_runs": 2000, "shared_data_sets": 400, "population_draws": 8, "population_replicates": 1}
    emulator = {"emulator_runs": 2000, "emulator_epochs": 1, "refinement_runs": 200, "refinement_epochs": 1}
    search = {"severity_runs": 300, "design_starts": 1, "design_hours": 100, "pof_calls": 1100}
    few = observed.isel(sample=slice(None, None, 10))  # ten hours of each control point
    weights = train_estimator(WindFarm(), 2000, estimator_training(2))
    stages = [
        ablation.ablate(stage, WindFarm(), few, BEST, SMALL | ours | emulator | search, weights)["rows"]
        for stage in range(ablation.STAGES)
    ]
    (fit,), path, (longer,) = stages
    assert fit["best_guess_distance"] < 1e-9
    assert fit["simulations"] < 1000
    by_change = {row["change"]: row for row in path}
    assert len(by_change) == len(path) == 9
    assert longer["held_out_loss"] < by_change["fresh seeds"]["held_out_loss"]
    one_round, rounds = (by_change[name] for name in ("all hours as one data set, one round", "more rounds"))
    assert rounds["contains"]
    assert rounds["volume"] < 1e-3 < one_round["volume"]  # the estimator is nearly untrained
    assert rounds["simulations"] > one_round["simulations"]
    for row in (*path, longer):
        assert set(row["designs"]) == {"performance", "reliability"}
        assert all(design["difference"] < 0.05 for design in row["designs"].values())
