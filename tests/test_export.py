"""The organisers' form: their keys, their number of rows, and nothing that does not fit."""

import json

import numpy as np
import pytest
import xarray as xr

from flowcal.challenge import OUTPUTS
from flowcal.decide.failure import Severity
from flowcal.decide.power import PowerEmulator
from flowcal.decide.problems import SolvedDesigns
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.report import export as submission
from flowcal.report.export import SubmissionError, check_results, export_submission, read_results

WINDS = FamilyDistribution((Cluster(1.0, (Marginal("Weibull", (0.88, -1.26)), Marginal("Weibull", (0.59, -1.55)))),))
EMULATOR = PowerEmulator(2, 6, 3, random_seed=1)
BOX = EpistemicBox([0.2, 0.3, 0.4], [0.3, 0.4, 0.5])
DESIGN = {"x_c": [0.1, 0.2, 0.3], "performance": [6.1, 6.2], "j": [6.0, 0.05], "pof_over_e": [1e-8, 3e-8]}


class Kept:
    """Artifacts of intervals and designs; UM1 refuses what it cannot resolve."""

    def read(self, chapter, name):
        if chapter == "intervals":
            bound = np.tile([[0.0], [3.0]], (2, 1, 6)).reshape(2, 2, 6).transpose(1, 0, 2)
            coordinates = {"side": ["lower", "upper"], "alpha": [0.999, 0.95], "output": list(OUTPUTS)}
            return xr.Dataset({"bound": (("side", "alpha", "output"), bound)}, coordinates)
        designs = dict.fromkeys(submission.DESIGNS, DESIGN)
        if name == "designs_um1":
            designs = dict.fromkeys(designs, DESIGN | {"pof_over_e": [0.003, 0.003]})
            designs["epsilon 1e-6"] = {"refused": "f_a resolves none below 0.001"}
        return SolvedDesigns(EMULATOR, Severity(np.ones(200)), {"designs": designs}).to_weights()


@pytest.fixture
def written(tmp_path, monkeypatch):
    pooled = PooledDraws(WINDS.sample(1000, np.random.default_rng(1)), 1000)
    models = {"UM1": UncertaintyModel(pooled, BOX), "UM2": UncertaintyModel(WINDS, BOX)}
    monkeypatch.setattr(submission, "inferred_models", lambda study: models)
    export_submission(Kept(), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_five_files_with_the_asked_rows(written):
    assert sorted(path.name for path in written.iterdir()) == [
        "UM1_E_samples.csv",
        "UM1_fa_samples.csv",
        "UM2_E_samples.csv",
        "UM2_fa_samples.csv",
        "results.json",
    ]
    for name, rows, columns in (("fa", 10_000, 2), ("E", 1_000, 3)):
        lines = (written / f"UM2_{name}_samples.csv").read_text().splitlines()
        assert len(lines) == rows + 1
        assert all(len(number) == 7 for number in lines[1].split(","))  # 0.12345
        assert np.loadtxt(lines[1:], delimiter=",").shape == (rows, columns)
    e = np.loadtxt(written / "UM1_E_samples.csv", delimiter=",", skiprows=1)
    assert ((e >= [0.2, 0.3, 0.4]) & (e <= [0.3, 0.4, 0.5])).all()


def test_the_keys_are_the_templates(written, check_data):
    template = json.loads((check_data / "results_template" / "results.json").read_text())
    for model in template["problem_2"].values():
        del model["o_risk_based_design"]
    assert shape_of(json.loads((written / "results.json").read_text())) == shape_of(template)
    for name in ("UM1_fa_samples.csv", "UM1_E_samples.csv"):
        header = (check_data / "results_template" / f"head_of_{name}").read_text().splitlines()[0]
        assert (written / name).read_text().splitlines()[0] == header


def shape_of(node):
    """Keys all the way down, and numbers of elements."""
    if isinstance(node, dict):
        return {key: shape_of(value) for key, value in node.items()}
    return len(node) if isinstance(node, list) else type(node).__name__


def test_what_was_refused_is_the_most_reliable_design_with_a_bound(written):
    results = json.loads((written / "results.json").read_text())
    row = results["problem_2"]["UM1"]["eps_constrained_design_10^-6"]
    assert row == {"X_c": DESIGN["x_c"], "J_interval": [5.9, 6.2], "pof_interval": [0.0, 0.003]}
    assert results["problem_2"]["o_UM2"]["realiability_based_design"]["pof_interval"] == [1e-8, 3e-8]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("problem_1", "best_guess_X_e"), [0.1, 0.2], "best_guess_X_e"),
        (("problem_1", "best_guess_X_e"), [0.1, 0.2, 1.2], r"best_guess_X_e\.2: .* less than or equal to 1"),
        (("problem_1", "UM1", "prediction_intervals", "alpha_0.95", "y4_interval"), [2.0, 1.0], "is not an interval"),
        (("problem_2", "UM1", "realiability_based_design", "pof_interval"), [0.0, 2.0], "pof_interval"),
        (("problem_2", "UM1", "reliability_based_design"), {}, r"reliability_based_design: Extra"),
        (("problem_2", "UM1", "o_risk_based_design"), {}, r"o_risk_based_design\.X_c"),
        (("team_id",), 7, "team_id"),
    ],
)
def test_what_does_not_fit_is_refused(written, place, value, message):
    results = json.loads((written / "results.json").read_text())
    node = results
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    with pytest.raises(SubmissionError, match=message):
        check_results(results)


def test_the_template_with_its_optional_parts_is_read(check_data):
    template = check_data / "results_template" / "results.json"
    assert read_results(template) == json.loads(template.read_text())
