"""The replicated study: systems with known truths, judged once each."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from distributed import LocalCluster

from flowcal.artifacts import ArtifactError
from flowcal.challenge import PROBLEM
from flowcal.decide.design import Effort
from flowcal.decide.problems import DesignSettings
from flowcal.decide.worst_case import Search
from flowcal.infer.contrasts import output_contrasts
from flowcal.infer.hour_posterior import train_posterior
from flowcal.infer.train import Training
from flowcal.infer.um1 import TRAINING, UM1Settings, aleatory_flow, aleatory_runs
from flowcal.infer.um2 import UM2Settings
from flowcal.infer.um2_epistemic import Rounds
from flowcal.report.boxes import judge_least_squares
from flowcal.report.replication import ReplicationError, read_replication, replicate, summarise, take_up
from flowcal.report.synthetic import SHAPES, judge, judge_designs, judge_paper, synthetic_system
from flowcal.simulate.windfarm import WindFarm

ROUNDS = Rounds(500)


@pytest.fixture(scope="module")
def judged(estimator):
    return judge(3, WindFarm(), estimator.to_weights(), UM2Settings(ROUNDS, draws=16, replicates=2))


def test_a_system_judged_on_a_cluster_is_judged_alike(tmp_path, estimator, judged):
    settings = UM2Settings(ROUNDS, draws=16, replicates=2)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        weights = estimator.to_weights()
        address = cluster.scheduler_address
        (row,) = replicate(tmp_path, [3], judge, address, simulator=WindFarm(), weights=weights, settings=settings)
    timed = {"seconds_e", "seconds_f_a"}
    assert {key: row[key] for key in row if key not in timed} == {key: judged[key] for key in row if key not in timed}


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_systems_are_made_up_reproducibly(number):
    system, again = (synthetic_system(WindFarm(), number) for _ in range(2))
    assert system.shape == list(SHAPES)[number]
    assert (system.x_e == again.x_e).all()
    assert system.observed.identical(again.observed)
    assert system.observed.sizes["sample"] == 1000
    assert ((system.x_e >= 0) & (system.x_e <= 1)).all()


def test_narrow_systems_are_narrow():
    spreads = [synthetic_system(WindFarm(), number).x_a[:, 1].std() for number in (3, 9, 15)]
    assert max(spreads) < 0.04


def test_observed_hours_come_from_the_system():
    system = synthetic_system(WindFarm(), 0)
    x = np.column_stack([system.x_a, np.tile(system.x_e, (1000, 1)), system.observed.x_c.values])
    contrasts = output_contrasts(system.observed.y.values[:, None], PROBLEM)
    other_wind = WindFarm().simulate(x, np.arange(1, 1001))
    assert contrasts == pytest.approx(output_contrasts(other_wind[:, None], PROBLEM), abs=1e-9)


def test_a_verdict_has_what_the_summary_needs(judged):
    assert judged["shape"] == "narrow"
    assert 0 < judged["volume"] < 1
    assert [row["probability"] for row in judged["tail"]] == [1e-3, 1e-5]
    summary = summarise([judged, {**judged, "contains": not judged["contains"], "energy_distance": 1.0}])
    assert summary["systems"] == 2
    assert summary["contains"] == 1
    assert summary["energy_distance"] == pytest.approx((1 + judged["energy_distance"]) / 2)
    gain, error = summary["gain_over_pooling_narrow"]
    assert gain == pytest.approx(judged["log_density"] - judged["pooling"]["log_density"])
    assert error == 0


def count(number, factor):
    """In place of `judge`."""
    return {"number": number, "value": factor * number}


def threads(number):
    """How many threads a process of ours may use."""
    if number == 1:
        raise ValueError("it is number 1")
    return {"number": number, "threads": os.environ["OMP_NUM_THREADS"]}


def test_processes_have_one_thread_and_a_failed_system_spares_the_others(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(ReplicationError, match="1 of 3 systems could not be judged, the first, number 1"):
        replicate(tmp_path, [0, 1, 2], threads)
    assert "OMP_NUM_THREADS" not in os.environ
    assert replicate(tmp_path, [0, 2], threads) == [{"number": place, "threads": "1"} for place in (0, 2)]


def test_the_published_study_is_read_as_it_stands(in_project):
    kept = read_replication()
    assert kept == json.loads((ROOT / "book" / "published" / "replication.json").read_text())
    assert kept["summary"] == summarise(kept["systems"])


@pytest.mark.parametrize("change", [{"systems": [{"number": 0}]}, {"paper": None}, {"more": 1}, {"recipes": [1]}])
def test_a_damaged_study_is_refused(tmp_path, monkeypatch, change):
    kept = json.loads((ROOT / "book" / "published" / "replication.json").read_text())
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "book" / "published" / "replication.json").write_text(json.dumps(kept | change))
    (tmp_path / "_toc.yml").write_text("chapters:\n  - file: notebooks/01_first\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_first.py").write_text("# %%\nimport flowcal\n")
    (tmp_path / "_config.yml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="is damaged"):
        read_replication()


def test_what_is_there_is_not_judged_again(tmp_path):
    rows = replicate(tmp_path, [0, 1], count, factor=2)
    assert rows == [{"number": 0, "value": 0}, {"number": 1, "value": 2}]
    assert replicate(tmp_path, [2], count, factor=5) == [*rows, {"number": 2, "value": 10}]


def test_published_verdicts_are_taken_up(tmp_path):
    take_up(tmp_path / "kept", [{"number": 0, "value": 7}])
    assert replicate(tmp_path / "kept", [0], count, factor=2) == [{"number": 0, "value": 7}]


def test_the_papers_two_steps_are_judged_alike(judged):
    runs = aleatory_runs(WindFarm(), 500, "fixed", 1)
    weights = train_posterior(runs, aleatory_flow(PROBLEM), replace(TRAINING, epochs=1))
    verdict = judge_paper(3, WindFarm(), weights, UM1Settings(100, Training(epochs=1), 50, trial_draws=1))
    assert set(verdict) - {"seconds"} <= set(judged)
    assert 0 < verdict["volume"] <= 1
    assert verdict["log_density_of_truth"] == judged["log_density_of_truth"]
    assert verdict["energy_distance"] > verdict["energy_distance_of_direct_draws"]


def test_designs_are_judged_under_the_truth(estimator):
    modest = Training(epochs=4, batch_size=256, learning_rate=5e-3)
    effort = Effort(starts=2, search=Search(screened=4, starts=1, tolerance=0.1))
    spent = DesignSettings(6000, modest, 6000, modest, 3000, effort)
    row = judge_designs(0, WindFarm(), estimator.to_weights(), UM2Settings(ROUNDS, draws=16, replicates=3), spent)
    assert row["shape"] == "plain"
    assert row["truth"]["pof"] == pytest.approx(1e-4, rel=0.02)  # the constraint binds, and the truth keeps it exactly
    assert row["credible"]["level"] >= row["plain"]["level"] or row["credible"]["pof"] is None
    assert 1 < row["truth"]["j"] < 10


def test_least_squares_on_a_noisy_and_on_a_wrong_box():
    """Its ellipsoid knows of noise, and nothing of a wrong simulator."""
    noisy, wrong = (judge_least_squares(2, key) for key in ("noise_2", "gain_1e-3"))
    assert noisy["contains"]
    assert 1e-8 < noisy["volume"] < 1e-5
    assert (wrong["contains"], wrong["volume"]) == (None, None)
    assert 1e-3 < wrong["off"] < 0.1
    assert wrong["simulations"] < noisy["simulations"]
