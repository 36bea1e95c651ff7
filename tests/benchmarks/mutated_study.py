"""A study of a few seconds, whose results and keys a mutated package is compared by; run as a program of its own.

It prints, as JSON, the content of the artifacts that its arguments name; for `all` also what code each was made by.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from flowcal.artifacts import _recipe
from flowcal.challenge import BASELINE, PROBLEM, TABLE_1
from flowcal.code import libraries
from flowcal.decide.design import Effort
from flowcal.decide.failure import crude_pof
from flowcal.decide.intervals import flattened_intervals, trajectory_intervals
from flowcal.decide.paper import TimeStepSurrogate, determination, train_surrogate
from flowcal.decide.power import train_power_emulator
from flowcal.decide.problems import DesignSettings, compare_performance, designs_for
from flowcal.decide.worst_case import Search
from flowcal.fingerprint import digest
from flowcal.infer.checks import calibrate
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.hour_posterior import HourPosterior, train_posterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Training
from flowcal.infer.um1 import UM1Settings, aleatory_flow, aleatory_runs, infer_aleatory, infer_um1, update_points
from flowcal.infer.um2 import UM2Settings, infer_um2
from flowcal.infer.um2_aleatory import AleatoryEstimator, train_estimator
from flowcal.infer.um2_epistemic import Rounds
from flowcal.simulate.observed import Source, observe
from flowcal.simulate.sensitivity import seed_sweep, sobol, sweep_inputs
from flowcal.simulate.windfarm import WindFarm

BOX = WindFarm()
F_A = FamilyDistribution.from_dict(
    {
        "clusters": [
            {
                "weight": 1.0,
                "marginals": [["Weibull", 0.9, -1.3], ["Weibull", 0.6, -1.6]],
                "copula": "independent",
                "tau": 0.0,
            }
        ]
    }
)
POOLED = PooledDraws(np.random.default_rng(1).random((400, 2)), 40)
WIDE = EpistemicBox([0.2, 0.4, 0.2], [0.5, 0.7, 0.6])
ONCE = Training(epochs=1, batch_size=64)


def study():
    """Function and settings of every artifact by its name; those that need another's result say which."""
    yield "sobol", sobol, {"simulator": BOX, "base_samples": 16, "resamples": 2, "random_seed": 1}
    yield "sweeps", sweep_inputs, {"simulator": BOX}
    yield "seeds", seed_sweep, {"simulator": BOX}
    yield "observed", observe, {"source": Source(), "control_points": TABLE_1[:3]}
    observed = observe(Source(), TABLE_1[:3])
    runs = aleatory_runs(BOX, 100, "fresh", 1)
    flow = {"runs": runs, "architecture": aleatory_flow(PROBLEM), "training": ONCE}
    yield "flow", train_posterior, flow
    posterior = HourPosterior(aleatory_flow(PROBLEM), 1)
    posterior.scaling.learn(torch.tensor(runs.y.values, dtype=torch.float32))
    yield "pooled", infer_aleatory, {"posterior": posterior, "hours": observed, "draws": 2, "random_seed": 1}
    yield "calibration", calibrate, {"posterior": posterior, "runs": runs, "draws": 5, "random_seed": 1}
    settings = UM1Settings(runs=100, training=ONCE, trial_hours=10, trial_draws=5, draws=2)
    yield "updates", update_points, {"simulator": BOX, "observed": observed, "f_a": POOLED, "settings": settings}
    yield (
        "um_1",
        infer_um1,
        {"updates": update_points(BOX, observed, POOLED, settings).drop_vars("seconds"), "points": 2},
    )
    yield "estimator", train_estimator, {"simulator": BOX, "size": 400, "training": ONCE}
    estimator = AleatoryEstimator.from_weights(train_estimator(BOX, 400, ONCE), "cpu")
    rounds = UM2Settings(Rounds(400), draws=4, replicates=1)
    um_2 = {"simulator": BOX, "observed": observed, "estimator": estimator, "settings": rounds, "random_seed": 1}
    yield "um_2", infer_um2, um_2
    model = UncertaintyModel(F_A, WIDE)
    at = {"model": model, "simulator": BOX, "x_c": BASELINE, "alphas": [0.95], "random_seed": 1}
    yield "flattened", flattened_intervals, at | {"hours": 40}
    yield "trajectory", trajectory_intervals, at | {"search": Search(2, 1, 0.2), "search_hours": 10, "hours": 20}
    place = {"simulator": BOX, "x_e": [0.3, 0.6, 0.4], "random_seed": 1}
    yield "crude", crude_pof, place | {"f_a": F_A, "x_c": BASELINE, "calls": 50}
    yield "compared", compare_performance, place | {"f_a": F_A, "designs": [BASELINE, TABLE_1[0]], "hours": 20}
    yield "surrogate", train_surrogate, {"runs": runs, "width": 4, "training": ONCE}
    surrogate = TimeStepSurrogate.from_weights(train_surrogate(runs, 4, ONCE), "cpu")
    again = runs.assign(y=runs.y + 1)
    yield "determination", determination, {"surrogate": surrogate, "runs": runs, "repeated": again}
    yield "power", train_power_emulator, {"simulator": BOX, "model": model, "size": 200, "training": ONCE}
    spent = DesignSettings(200, ONCE, 200, ONCE, 300, Effort(1, Search(2, 1, 0.2)), hours=20, pof_calls=1100)
    point = UncertaintyModel(F_A, EpistemicBox([0.3, 0.6, 0.4], [0.3, 0.6, 0.4]))
    yield (
        "designs",
        designs_for,
        {"simulator": BOX, "model": point, "replicates": [F_A], "settings": spent, "random_seed": 1},
    )


def content(value):
    """Digest of what a function returned, without the seconds that it took."""
    header = getattr(value, "header", None)
    if header is not None:
        return digest([_timeless(header), value.tensors])
    return digest(_timeless(value) if isinstance(value, dict) else value.drop_vars("seconds", errors="ignore"))


def _timeless(node):
    if isinstance(node, dict):
        return {key: _timeless(item) for key, item in node.items() if key not in ("seconds", "seconds_e")}
    return [_timeless(item) for item in node] if isinstance(node, list | tuple) else node


def traced(function, settings):
    """Content, and the functions and methods of the package that were called for it."""
    called = set()

    def note(frame, event, _):
        if event == "call" and "flowcal" in frame.f_code.co_filename:
            called.add(
                f"{Path(frame.f_code.co_filename).as_posix().rpartition('flowcal/')[2]}:{frame.f_code.co_firstlineno}"
            )

    sys.setprofile(note)
    try:
        value = function(**settings)
    finally:
        sys.setprofile(None)
    return content(value), sorted(called)


def main(names):
    """Key and content of the artifacts named; 'all' traces every one."""
    found, versions = {}, libraries()
    for name, function, settings in study():
        if names == ["all"] or name in names:
            recipe = _recipe(function, settings, versions)
            found[name] = {"key": recipe["key"], "code": list(recipe["code"])}
        if names == ["all"]:
            found[name]["content"], found[name]["called"] = traced(function, settings)
        elif name in names:
            try:
                found[name]["content"] = content(function(**settings))
            except Exception as error:
                found[name]["content"] = type(error).__name__
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
