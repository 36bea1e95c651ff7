"""Values that cannot be are refused wherever they enter, by one rule for all twins; labels decide, not their order."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcal.challenge import BASELINE, CONTROL, EPISTEMIC, INPUTS, LOADS, OUTPUTS, POWERS, PROBLEM, TABLE_1
from flowcal.decide.design import Effort, find_design
from flowcal.decide.failure import FailureCurve, Severity, crude_pof, failure_severities, measure_severity, sampled_pof
from flowcal.decide.intervals import flattened_intervals, trajectory_intervals
from flowcal.decide.paper import TimeStepSurrogate, determination, fly
from flowcal.decide.plane import AleatoryPlane
from flowcal.decide.power import power_runs
from flowcal.decide.problems import DesignSettings, compare_performance, required_severity
from flowcal.decide.worst_case import Search, find_worst_cases
from flowcal.errors import FlowcalError
from flowcal.infer.checks import coverage, energy_distance, predict_hours, predictive_levels, uniform_band
from flowcal.infer.families import Cluster, FamilyDistribution, Form, Marginal, make_copula
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.networks import FeaturePosterior, Layout, OutsideTrainingWarning
from flowcal.infer.train import Training
from flowcal.infer.um1 import (
    UM1Settings,
    aleatory_flow,
    aleatory_runs,
    epistemic_runs,
    highest_density_box,
    infer_set,
    infer_um1,
    joint_mode,
)
from flowcal.infer.um2 import UM2Settings
from flowcal.infer.um2_aleatory import estimator_runs, fit_family, hour_statistics
from flowcal.infer.um2_epistemic import Rounds
from flowcal.problem import as_numbers, check_points, check_range, rng_of
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.control_points import choose_levels, pair_levels
from flowcal.simulate.observed import RealSystem, Source, observe, observed_hours, read_folder
from flowcal.simulate.program import read_observed_hours, read_output
from flowcal.simulate.sensitivity import sobol
from flowcal.simulate.simulator import check_hours, fresh_seeds, labelled_hours, objective, peaks
from flowcal.simulate.windfarm import WindFarm

QUICK = settings(deadline=None, max_examples=60)
NAN, INF = float("nan"), float("inf")
FARM, RNG = WindFarm(), np.random.default_rng(1)
X, SEED = RNG.random((20, 8)), np.arange(1, 21)
Y = FARM.simulate(X, SEED)
F_A = PooledDraws(RNG.random((200, 2)), hours=100)
BOX = EpistemicBox([0.2] * 3, [0.4] * 3)
MODEL = UncertaintyModel(F_A, BOX)
AT = {"x_e": [0.3, 0.6, 0.4], "x_c": list(BASELINE)}
TRAINING = Training(epochs=1)
LIBRARIES = re.compile("usecols|broadcast|NoneType|inhomogeneous|ufunc|pydantic|out of bounds|Traceback")


class Returning:
    """A black box that returns what is made of the embedded one's output."""

    identity = {"name": "returning"}

    def __init__(self, change):
        self.change = change

    def simulate(self, x, seed):
        return self.change(WindFarm().simulate(x, seed))


def refusal(call, *arguments):
    """What a call is refused with: a sentence of ours, without the words of a library."""
    with pytest.raises(FlowcalError) as caught:
        call(*arguments)
    said = str(caught.value)
    assert not LIBRARIES.search(said), said
    return said


# Labels decide


def labelled(values, names, kind):
    """The same inputs with their columns in the order of the names."""
    frame = pd.DataFrame(values, columns=list(INPUTS))[list(names)]
    array = xr.DataArray(frame.to_numpy(), {"input": list(names)}, ("sample", "input"))
    return {"frame": frame, "array": array, "turned": array.T}[kind]


def turned(y):
    """Outputs in another order, with their names."""
    return xr.DataArray(y[..., ::-1], {"output": list(OUTPUTS[::-1])}, ("sample", "time", "output"))


@QUICK
@given(st.permutations(INPUTS), st.sampled_from(["frame", "array", "turned"]), st.sampled_from([5, 8]))
def test_labelled_inputs_are_taken_by_name(names, kind, rows):
    x = labelled(X[:rows], names, kind)
    assert np.array_equal(FARM.simulate(x, SEED[:rows]), Y[:rows])
    assert np.array_equal(run_campaign(FARM, x, SEED[:rows]).y, Y[:rows])


@QUICK
@given(st.lists(st.sampled_from([*INPUTS, "X_a3", "time", ""]), min_size=1, max_size=9))
def test_other_labels_are_refused(names):
    if sorted(names) != sorted(INPUTS):
        frame = pd.DataFrame(np.full((3, len(names)), 0.5), columns=names)
        assert "x is labelled" in refusal(lambda: FARM.simulate(frame, SEED[:3]))


def test_labels_decide_for_points_thresholds_hours_and_outputs():
    plain = crude_pof(F_A, FARM, **AT, calls=300, random_seed=1)
    x_e, x_c = (pd.Series(AT[name], names)[::-1] for name, names in (("x_e", EPISTEMIC), ("x_c", CONTROL)))
    limits = pd.Series(PROBLEM.thresholds, LOADS)[::-1]
    assert crude_pof(F_A, FARM, x_e, x_c, 300, 1, thresholds=limits).identical(plain)
    assert crude_pof(F_A, Returning(turned), **AT, calls=300, random_seed=1).identical(plain)
    assert np.array_equal(labelled_hours(turned(Y)).y, Y)
    assert np.array_equal(RealSystem().observe(x_c).y, RealSystem().observe(AT["x_c"]).y)
    hours = labelled_hours(Y)
    both = (hours, hours.isel(output=slice(None, None, -1)))
    assert np.array_equal(*(predictive_levels(hours, other, np.random.default_rng(1)) for other in both))


@pytest.mark.parametrize(
    "x",
    [
        np.ma.masked_array(X, X > 0.9),
        X.astype(str),
        X.astype(object),
        X > 0.5,
        X + 0j,
        None,
        "0.5",
        {"X_a1": 0.5},
        [[0.5] * 8, [0.5]],
        xr.Dataset({name: ("sample", X[:, i]) for i, name in enumerate(INPUTS)}),
        pd.DataFrame(X, columns=INPUTS).astype("Float64").mask(lambda frame: frame > 0.9),
        pd.DataFrame(X, columns=INPUTS).to_records(),
        np.full((20, 8), np.datetime64("2025-01-01")),
        X * NAN,
        X * INF,
        X[0],
        X[:, :7],
        0.5,
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_no_array_of_numbers_is_refused(x):
    assert refusal(lambda: FARM.simulate(x, SEED)).startswith("x ")
    assert refusal(lambda: run_campaign(FARM, x, SEED)).startswith("x ")
    assert refusal(lambda: crude_pof(F_A, FARM, x, BASELINE, 10, 1)).startswith("x_e ")
    assert refusal(lambda: crude_pof(F_A, FARM, **AT, calls=10, random_seed=1, thresholds=x)) if x is not None else True


def test_masks_without_masked_values_are_no_reason():
    assert np.array_equal(FARM.simulate(np.ma.masked_array(X, mask=False), SEED), Y)


# Values that cannot be, the same for all ways in

IMPOSSIBLE = st.one_of(
    st.sampled_from([-999.0, -9999.0, -1e-9, NAN, INF, -INF, 1e30, 9.96921e36, 1e20, 1.0000001e15]),
    st.floats(max_value=0, exclude_max=True, allow_subnormal=False),
    st.floats(min_value=1e15, exclude_min=True),
)
TOO_LARGE = st.floats(3.36, 1e15)  # for a power
POSSIBLE = st.floats(0, 3.35, allow_subnormal=False)


def ways_in(y, folder):
    """All ways in which hours y (n, 60, 6) enter, by name."""
    (folder / "hours.csv").write_text("y1,y2,y3,y4,y5,y6,sample_no\n" + text_of(y))
    (folder / "Y_out.csv").write_text(text_of(y))
    (folder / "control_points.csv").write_text("file,X_c1,X_c2,X_c3\nhours.csv,0.1,0.2,0.3\n")
    box, count = Returning(lambda _: y), len(y)
    return {
        "file": lambda: read_observed_hours(folder / "hours.csv"),
        "folder": lambda: read_folder(folder).y.values,
        "program": lambda: read_output(folder / "Y_out.csv", count),
        "campaign": lambda: run_campaign(box, X[:count], SEED[:count]).y.values,
        "inference": lambda: check_hours(y, np.full((count, 3), 0.5))[0],
    }


def text_of(y):
    rows = [",".join([*map(repr, minute.tolist()), str(n)]) for n, hour in enumerate(y) for minute in hour]
    return "\n".join(rows) + "\n"


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_values_are_judged_alike_wherever_they_enter(tmp_path_factory, data):
    folder, y, good = tmp_path_factory.mktemp("hours"), Y[:1].copy(), data.draw(st.booleans())
    minute, output = data.draw(st.integers(0, 59)), data.draw(st.integers(0, 5))
    bad = st.one_of(IMPOSSIBLE, TOO_LARGE) if output < 3 else IMPOSSIBLE
    y[0, minute, output] = value = data.draw(POSSIBLE if good else bad)
    for name, enter in ways_in(y, folder).items():
        if good or (name == "program" and not np.isfinite(value)):  # of which `Executable` has an error of its own
            assert np.array_equal(enter(), y, equal_nan=True), name
            continue
        said = refusal(enter)
        assert OUTPUTS[output] in said, name
        assert "expected" in said, name
        if name in ("file", "folder", "program"):
            assert f"row {1 + (name != 'program') + minute}, " in said


@pytest.mark.parametrize("change", [lambda y: np.ma.masked_greater(y, 100), lambda y: y.astype(str), lambda y: None])
def test_outputs_that_are_no_numbers_are_no_result(change):
    box = Returning(change)
    refusal(lambda: crude_pof(F_A, box, **AT, calls=50, random_seed=1))
    refusal(lambda: sampled_pof(AleatoryPlane(F_A), box, **AT, calls=1500, random_seed=1))
    refusal(lambda: flattened_intervals(MODEL, box, BASELINE, [0.9], 20, 1))
    refusal(lambda: trajectory_intervals(MODEL, box, BASELINE, [0.9], Search(2, 1), 20, 20, 1))
    refusal(lambda: power_runs(box, MODEL, 20, 1))


def test_nothing_rests_on_absent_hours():
    hours = labelled_hours(np.where(np.arange(6) == 3, NAN, Y))
    assert np.isnan(peaks(hours).sel(output="y4")).all()
    assert np.isnan(objective(labelled_hours(np.full_like(Y, NAN)))).all()
    whole = labelled_hours(Y)
    for first, second in (
        (hours, whole),
        (whole, hours),
        (whole.isel(sample=[]), whole),
        (whole, whole.isel(sample=[])),
    ):
        assert "expected at least one, all finite" in refusal(predictive_levels, first, second, RNG)
    assert "y4" in refusal(lambda: hour_statistics(hours.y.values, PROBLEM))
    for values in ([NAN, 0.5], [], [2.0]):
        refusal(coverage, values, 0.9)
    refusal(lambda: energy_distance([[NAN], [1.0]], [[1.0], [2.0]]))
    refusal(lambda: find_worst_cases(lambda x_e: np.array([NAN]), BOX, Search(2, 1), RNG))
    refusal(lambda: fly(lambda x_c: np.full(len(x_c), NAN), 3, 4, 3, 1))
    of = BOX, Effort(starts=2), PROBLEM
    refusal(lambda: find_design(lambda e, c: c[:, 0] * NAN, lambda e, c: 1 - c, *of))
    refusal(lambda: find_design(lambda e, c: c[:, 0], lambda e, c: c * NAN, *of, required_severity=0.5))
    for draws in (np.full((9, 3), NAN), np.empty((0, 3)), np.full((9, 3), 2.0), np.ones(9)):
        for infer in (joint_mode, infer_set, lambda draws: PooledDraws(draws, 1)):
            refusal(infer, draws)
    trials = {"log_prob": (("point", "seeds", "sample"), np.full((2, 2, 3), NAN))}
    said = refusal(lambda: infer_um1(xr.Dataset(trials, {"point": [1, 2], "seeds": ["fixed", "fresh"]})))
    assert "number of trials at point 1 is 0" in said


def test_constant_outputs_have_no_variance_to_explain(recwarn):
    runs = run_campaign(FARM, X, SEED)
    calm = runs.assign(y=0 * runs.y)
    explained = determination(TimeStepSurrogate(8, 60, 6, 2, 1), calm, calm)
    assert np.isnan(explained.r_squared).all()
    assert not recwarn.list
    box = Returning(lambda y: 0 * y)
    assert np.isinf(failure_severities(box, [AT["x_e"]], [BASELINE])).all()
    assert "all loads are 0" in refusal(lambda: measure_severity(box, **AT, runs=300, rng=RNG))


# Numbers out of range, everywhere

COUNTS = {
    "crude_pof": lambda n: crude_pof(F_A, FARM, **AT, calls=n, random_seed=1),
    "sampled_pof": lambda n: sampled_pof(AleatoryPlane(F_A), FARM, **AT, calls=n, random_seed=1),
    "its pilots": lambda n: sampled_pof(AleatoryPlane(F_A), FARM, **AT, calls=9000, random_seed=1, pilots=n),
    "measure_severity": lambda n: measure_severity(FARM, **AT, runs=n, rng=RNG),
    "flattened_intervals": lambda n: flattened_intervals(MODEL, FARM, BASELINE, [0.9], n, 1),
    "trajectory_intervals": lambda n: trajectory_intervals(MODEL, FARM, BASELINE, [0.9], Search(2, 1), 9, n, 1),
    "its search": lambda n: trajectory_intervals(MODEL, FARM, BASELINE, [0.9], Search(2, 1), n, 9, 1),
    "predict_hours": lambda n: predict_hours(MODEL, FARM, BASELINE, n, 1),
    "compare_performance": lambda n: compare_performance(F_A, FARM, AT["x_e"], [BASELINE], n, 1),
    "power_runs": lambda n: power_runs(FARM, MODEL, n, 1),
    "aleatory_runs": lambda n: aleatory_runs(FARM, n, "fixed", 1),
    "epistemic_runs": lambda n: epistemic_runs(FARM, RNG.random((5, 2)), BASELINE, n, "fixed", 1),
    "estimator_runs": lambda n: estimator_runs(FARM, n, 1),
    "sobol": lambda n: sobol(FARM, n, 2, 1),
    "its resamples": lambda n: sobol(FARM, 2, n, 1),
    "choose_levels": lambda n: choose_levels([0, 0.5, 1], [[1], [0], [1]], n),
    "uniform_band": lambda n: uniform_band(n, [0.5], RNG),
    "fly": lambda n: fly(lambda x_c: x_c[:, 0], 3, n, 3, 1),
    "Search": lambda n: Search(screened=n),
    "Effort": lambda n: Effort(starts=n),
    "Training": lambda n: Training(epochs=n),
    "Rounds": lambda n: Rounds(n),
    "UM1Settings": lambda n: UM1Settings(n, TRAINING, 10, 10),
    "UM2Settings": lambda n: UM2Settings(Rounds(), n, 1),
    "DesignSettings": lambda n: DesignSettings(n, TRAINING, 10, TRAINING, 300),
    "PooledDraws": lambda n: PooledDraws(F_A.density.draws, n),
    "Problem": lambda n: dataclasses.replace(PROBLEM, steps=n),
    "Form": lambda n: Form(("beta",), clusters=n),
}


@pytest.mark.parametrize("count", [0, -5, NAN, INF, 1.5, True, "5", None], ids=repr)
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_whole_numbers_from_one_up(name, count):
    said = refusal(lambda: COUNTS[name](count))
    assert "expected a whole number from" in said
    assert f"is {count!r}" in said


@pytest.mark.parametrize("n", [-1, NAN, 1.5, "a", None])
def test_draws_are_counted(n):
    families = FamilyDistribution((Cluster(1.0, (Marginal("beta", (0.8, 2.2)),)),))
    for source in (F_A, BOX, BOX.turned_box, families):
        assert "n is" in refusal(source.sample, n, RNG)
    assert "count is" in refusal(lambda: fresh_seeds(n, RNG))
    assert [len(source.sample(0, RNG)) for source in (F_A, BOX, families)] == [0, 0, 0]


@pytest.mark.parametrize("seed", [-1, 1.5, NAN, None, "1", True])
def test_random_seeds_are_whole_numbers_from_zero_up(seed):
    for call in (
        lambda: crude_pof(F_A, FARM, **AT, calls=10, random_seed=seed),
        lambda: predict_hours(MODEL, FARM, BASELINE, 10, seed),
        lambda: aleatory_runs(FARM, 10, "fixed", seed),
        lambda: sobol(FARM, 2, 2, seed),
        lambda: Training(epochs=1, random_seed=seed),
        lambda: rng_of(seed, 3),
    ):
        assert "random_seed is" in refusal(call)
    assert rng_of(1).random() == np.random.default_rng(1).random()
    assert rng_of(1, 7).random() == np.random.default_rng([1, 7]).random()


ANYTHING = st.one_of(st.floats(), st.floats(-0.5, 1.5), st.integers(), st.text(), st.none(), st.booleans())


@QUICK
@given(ANYTHING, st.sampled_from(["()", "[)", "(]", "[]"]))
def test_ranges_hold_what_they_say(value, ends):
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if real and (0 < value < 1 or (value == 0 and ends[0] == "[") or (value == 1 and ends[1] == "]")):
        check_range(0, 1, ends, share=value)
    else:
        assert refusal(lambda: check_range(0, 1, ends, share=value)).startswith("share is")


RANGES = {
    "learning_rate": lambda v: Training(epochs=1, learning_rate=v),
    "held_out": lambda v: Training(epochs=1, held_out=v),
    "weight_decay": lambda v: Training(epochs=1, weight_decay=v),
    "credibility": lambda v: Rounds(credibility=v),
    "control_tolerance": lambda v: Rounds(control_tolerance=v),
    "misfit": lambda v: Rounds(misfit=v),
    "tolerance": lambda v: Search(tolerance=v),
    "ceiling": lambda v: dataclasses.replace(PROBLEM, ceiling=v if v is not None else NAN),
    "threshold of a problem": lambda v: dataclasses.replace(PROBLEM, thresholds=(v, 1.0, 1.0)),
    "share": lambda v: highest_density_box(RNG.random((9, 3)), v),
    "level": lambda v: infer_set(RNG.random((9, 3)), v),
    "resolution": lambda v: FailureCurve(np.linspace(1, 0.1, 321), v),
    "probability": lambda v: FailureCurve(np.linspace(1, 0.1, 321), 0.0).severity_of(v),
    "epsilon": lambda v: required_severity([FailureCurve(np.linspace(1, 0.1, 321), 0.0)], v),
    "crude threshold": lambda v: crude_pof(F_A, FARM, **AT, calls=9, random_seed=1, thresholds=(v, 1.0, 1.0)),
    "severity's threshold": lambda v: failure_severities(FARM, [AT["x_e"]], [BASELINE], (v, 1.0, 1.0)),
    "alpha": lambda v: flattened_intervals(MODEL, FARM, BASELINE, [v], 20, 1),
    "alpha of hours": lambda v: trajectory_intervals(MODEL, FARM, BASELINE, [v], Search(2, 1), 9, 9, 1),
    "observed x_c": lambda v: observed_hours(Y, [v, 0.5, 0.5]),
    "observed points": lambda v: observe(Source(), [[v, 0.5, 0.5]]),
    "predicted x_c": lambda v: predict_hours(MODEL, FARM, [v, 0.5, 0.5], 5, 1),
    "x_e": lambda v: crude_pof(F_A, FARM, [v, 0.5, 0.5], BASELINE, 5, 1),
    "x_c": lambda v: epistemic_runs(FARM, [[0.1, 0.2]], [v, 0.5, 0.5], 5, "fixed", 1),
    "near": lambda v: power_runs(FARM, MODEL, 5, 1, near=[[v, 0.5, 0.5]]),
    "low": lambda v: EpistemicBox([v, 0, 0], [1, 1, 1]),
    "levels": lambda v: pair_levels([[0.1, 0.2], [0.1, v]], RNG),
    "weight": lambda v: FamilyDistribution((Cluster(v, (Marginal("beta", (0.8, 2.2)),)),)),
    "x_a": lambda v: fit_family(Form(("beta",)), [[v], [0.5]]),
}


@pytest.mark.parametrize("value", [NAN, -0.5, 1e20, "a", None], ids=repr)
@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range_are_refused(name, value):
    if value == 1e20 and (name in ("learning_rate", "weight_decay", "ceiling") or "threshold" in name):
        return  # in range
    refusal(lambda: RANGES[name](value))


@pytest.mark.parametrize("tau", [NAN, 1.0, -1.0, "a", None, [], [0.5, NAN]], ids=repr)
def test_copulas_need_a_tau(tau):
    assert "tau" in refusal(lambda: make_copula("Frank", tau))


@pytest.mark.parametrize("values", [np.full(300, NAN), np.full(300, INF), np.ones(5), [], "a"], ids=str)
def test_noise_and_probabilities_are_finite(values):
    refusal(lambda: Severity(values))
    refusal(lambda: FailureCurve(values, 0.0))


@pytest.mark.parametrize(
    "change",
    [
        {"aleatory": "ab"},
        {"aleatory": ()},
        {"control": ("X_a1",)},
        {"maximised": ("y1", "y1")},
        {"outputs": (1, 2, 3, 4, 5, 6)},
        {"limited": ("y9", "y5", "y6")},
        {"units": ()},
        {"thresholds": (INF, 1.0, 1.0)},
    ],
    ids=str,
)
def test_problems_that_are_none_are_refused(change):
    assert "expected" in refusal(lambda: dataclasses.replace(PROBLEM, **change))


def test_messages_name_the_argument_and_its_place():
    said = refusal(lambda: crude_pof(F_A, FARM, AT["x_e"][:2], [*BASELINE, 0.5], 10, 1))
    assert said == "x_e is [0.3, 0.6]; expected 3 numbers in [0, 1]: X_e1, X_e2, X_e3."
    said = refusal(lambda: failure_severities(FARM, [AT["x_e"]] * 2, [BASELINE]))
    assert said == "x_e has 2 rows; expected 1, as x_c has."
    assert "x of row 1, column 0, is nan" in refusal(lambda: check_points([[0.5], [NAN]], 1, "x"))
    assert as_numbers(pd.Series([1, 2], ["b", "a"]), "x", ["a", "b"]).tolist() == [2, 1]


# Far outside the training data


@pytest.fixture(scope="module")
def features():
    theta = np.random.default_rng(1).random((1000, 2))
    return theta, theta + 0.05 * np.random.default_rng(2).standard_normal((1000, 2))


@pytest.fixture(scope="module")
def posterior(features):
    return FeaturePosterior(Layout(2, 2), 1).fit(*features, Training(epochs=2))


@pytest.mark.parametrize("value", [5.0, -3.0, 100.0, 1e10, -1e10, 1e20])
def test_features_far_outside_of_training_are_warned_of(posterior, value):
    for asked in (posterior, FeaturePosterior.from_weights(posterior.to_weights(), "cpu")):
        with pytest.warns(OutsideTrainingWarning, match="where training had"):
            draws = asked.sample(50, [[0.5, value]], np.random.default_rng(1))
        assert np.isfinite(draws).all()


@pytest.mark.parametrize("value", [1e39, 1e300, -1e100])
@pytest.mark.filterwarnings("ignore")
def test_features_beyond_all_numbers_are_refused(posterior, value):
    assert "NaN for these features" in refusal(lambda: posterior.sample(5, [[0.5, value]], RNG))


def test_features_as_in_training_are_not_warned_of(posterior, features, recwarn):
    posterior.sample(2, features[1], np.random.default_rng(1))
    posterior.log_prob(*features)
    constant = FeaturePosterior(Layout(2, 2), 1).fit(features[0], np.full((1000, 2), 3.0), TRAINING)
    constant.sample(2, [[3.0, 3.0 + 1e-9]], np.random.default_rng(1))
    assert not recwarn.list
    with pytest.warns(OutsideTrainingWarning):
        constant.sample(2, [[3.0, 4.0]], np.random.default_rng(1))


@pytest.mark.parametrize("given", [[], [[1.0]], [[NAN, 1], [1, 1]], "x", [["a", "b"]] * 2], ids=str)
def test_a_training_range_that_is_none_is_refused(posterior, given):
    weights = posterior.to_weights()
    spoiled = dataclasses.replace(weights, header=weights.header | {"seen": given})
    with pytest.raises(FlowcalError, match="do not fit their header"):
        FeaturePosterior.from_weights(spoiled, "cpu")


def test_hours_far_outside_of_training_are_warned_of(recwarn):
    small = {"width": 8, "heads": 2, "feed_forward": 8, "encoder_layers": 1, "coupling_layers": 1, "hidden": (8,)}
    runs = aleatory_runs(FARM, size=300, seeds="fresh", random_seed=1)
    of_hours = HourPosterior(dataclasses.replace(aleatory_flow(PROBLEM), **small), 1).fit(runs, TRAINING)
    hours = observe(Source(), TABLE_1[:2])
    of_hours.sample((2,), hours, np.random.default_rng(1))
    of_hours.sample((2,), hours.assign(y=0 * hours.y), np.random.default_rng(1))  # calm hours are hours
    assert not [said for said in recwarn.list if issubclass(said.category, OutsideTrainingWarning)]
    for factor in (1000.0, 1e6, 1e10):
        loud = hours.assign(y=hours.y * xr.where(hours.output.isin(POWERS), 1.0, factor))
        with pytest.warns(OutsideTrainingWarning, match="the series go up to"):
            assert np.isfinite(of_hours.sample((2,), loud, np.random.default_rng(1))).all()
