"""The posterior of an hour: what goes in, what comes out, and its weights on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
import xarray as xr

from flowcal.challenge import ALEATORY, CONTROL, PROBLEM, TABLE_1
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.hour_posterior import HourPosterior, SeriesScaling, train_posterior
from flowcal.infer.train import Training
from flowcal.infer.um1 import aleatory_flow, aleatory_runs, epistemic_flow
from flowcal.simulate.observed import RealSystem, observed_hours
from flowcal.simulate.windfarm import WindFarm

ALEATORY_FLOW, EPISTEMIC_FLOW = aleatory_flow(PROBLEM), epistemic_flow(PROBLEM)


@pytest.fixture(scope="module")
def runs():
    return aleatory_runs(WindFarm(), 300, "fresh", 1)


@pytest.fixture(scope="module")
def posterior(runs):
    return HourPosterior(ALEATORY_FLOW, 1).fit(runs, Training(epochs=2, batch_size=64))


@pytest.fixture(scope="module")
def hours():
    return RealSystem().observe(TABLE_1[1])


def same_answers(first, second, hours):
    theta = np.full((hours.sizes["sample"], 2), 0.3)
    return np.array_equal(first.log_prob(theta, hours), second.log_prob(theta, hours))


def test_samples_and_densities(posterior, hours):
    draws = posterior.sample((50,), hours, np.random.default_rng(1))
    assert draws.shape == (50, 100, 2)
    assert ((draws >= 0) & (draws <= 1)).all()
    assert np.array_equal(draws, posterior.sample((50,), hours, np.random.default_rng(1)))
    density = posterior.log_prob(draws, hours)
    assert density.shape == (50, 100)
    assert np.isfinite(density).all()
    assert np.allclose(density[3], posterior.log_prob(draws[3], hours), atol=1e-4)


def test_density_of_an_hour_integrates_to_one(posterior, hours):
    axis = (np.arange(800) + 0.5) / 800
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    density = np.exp(posterior.log_prob(grid, hours.isel(sample=[7])))
    assert density.mean() == pytest.approx(1, abs=0.01)


def test_gradients_reach_every_weight(runs):
    for architecture in (ALEATORY_FLOW, EPISTEMIC_FLOW, replace(ALEATORY_FLOW, coupling="spline")):
        network = HourPosterior(architecture, 1)
        size = len(architecture.parameters)
        controls = runs.x.sel(input=list(architecture.controls)).values
        y, x_c = (torch.tensor(part, dtype=torch.float32) for part in (runs.y.values, controls))
        network.scaling.learn(y)
        network.loss(torch.rand(300, size), y, x_c).mean().backward()
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_scaling_is_learned_and_goes_with_the_weights(posterior, runs):
    curved = np.log1p(runs.y.values)
    assert posterior.scaling.mean.numpy() == pytest.approx(curved.mean((0, 1)), rel=1e-4)
    assert posterior.scaling.spread.numpy() == pytest.approx(curved.std((0, 1)), rel=1e-4)
    assert {"scaling.mean", "scaling.spread"} <= posterior.to_weights().tensors.keys()


def test_an_output_that_never_changes_is_left_alone():
    scaling = SeriesScaling("linear", 6)
    scaling.learn(torch.ones(10, 60, 6))
    assert torch.equal(scaling(torch.ones(1, 60, 6)), torch.zeros(1, 60, 6))


def test_hours_do_not_depend_on_their_neighbours(posterior, hours):
    theta = np.full((100, 2), 0.4)
    alone = posterior.log_prob(theta[:1], hours.isel(sample=[5]))
    assert posterior.log_prob(theta, hours)[5] == pytest.approx(alone[0], abs=1e-4)


def test_the_control_point_matters_only_where_it_is_read(runs, hours):
    moved = hours.assign(x_c=hours.x_c + 0.01)
    for controls in (CONTROL, ()):
        network = HourPosterior(replace(ALEATORY_FLOW, controls=controls), 1)
        assert same_answers(network, network, hours)
        theta = np.full((100, 2), 0.3)
        assert np.array_equal(network.log_prob(theta, hours), network.log_prob(theta, moved)) == (not controls)


def test_training_is_the_same_each_time(runs, posterior, hours):
    again = HourPosterior.from_weights(train_posterior(runs, ALEATORY_FLOW, Training(epochs=2, batch_size=64)))
    assert same_answers(posterior, again, hours)
    assert again.history.held_out_loss == posterior.history.held_out_loss


# Hours of all kinds


def test_one_hour(posterior, hours):
    assert posterior.sample((10,), hours.isel(sample=[0]), np.random.default_rng(1)).shape == (10, 1, 2)


def test_a_calm_hour_is_an_hour(posterior):
    calm = observed_hours(np.zeros((1, 60, 6)), (0.5, 0.5, 0.5))
    assert np.isfinite(posterior.sample((100,), calm, np.random.default_rng(1))).all()


def test_many_hours(posterior, hours):
    many = hours.isel(sample=np.arange(20_000) % 100)  # read a thousand at a time
    draws = posterior.sample((1,), many, np.random.default_rng(1))
    assert draws.shape == (1, 20_000, 2)
    density = posterior.log_prob(np.full((20_000, 2), 0.3), many)
    assert np.allclose(density[:100], density[-100:], atol=1e-4)


def with_y(hours, change):
    y = hours.y.values.copy()
    change(y)
    return hours.assign(y=(hours.y.dims, y))


def put(place, value):
    def change(y):
        y[place] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda hours: with_y(hours, put((3, 5, 3), np.nan)), "hour 3, minute 5, y4, is nan"),
        (lambda hours: with_y(hours, put((3, 5, 3), -1)), "is -1.0; expected finite numbers from 0 up"),
        (lambda hours: with_y(hours, put((0, 0, 0), np.inf)), "y1, is inf"),
        (lambda hours: hours.isel(time=slice(59)), r"shape \(100, 59, 6\)"),
        (
            lambda hours: hours.isel(output=slice(5)),
            "y is labelled y1, y2, y3, y4, y5; expected y1",
        ),
        (lambda hours: hours.isel(sample=slice(0)), "at least one hour"),
        (lambda hours: hours.assign(x_c=hours.x_c + 1), "X_c1, is 1.65; expected numbers in"),
        (lambda hours: hours.assign(x_c=hours.x_c * np.nan), "X_c1, is nan"),
        (lambda hours: hours.drop_vars("x_c"), "expected y by sample, time and output, and x_c or x"),
    ],
)
def test_refuses_hours(posterior, hours, spoil, said):
    with pytest.raises(InputError, match=said):
        posterior.sample((1,), spoil(hours), np.random.default_rng(1))


def test_labels_decide_and_not_their_order(posterior, hours):
    theta = np.full((100, 2), 0.3)
    turned = hours.isel(output=slice(None, None, -1), control=slice(None, None, -1))
    assert np.array_equal(posterior.log_prob(theta, hours), posterior.log_prob(theta, turned))


def test_how_long_training_took_does_not_change_what_it_is(posterior):
    weights = posterior.to_weights()
    history = weights.header["history"] | {"seconds": [1.0] * len(posterior.history)}
    slower = HourPosterior.from_weights(Weights(weights.header | {"history": history}, weights.tensors))
    assert slower.history.seconds != posterior.history.seconds
    assert slower.identity == posterior.identity


def test_refuses_observed_hours_to_train_on(hours):
    with pytest.raises(InputError, match="no x with X_a1, X_a2; expected simulated hours"):
        HourPosterior(ALEATORY_FLOW, 1).fit(hours, Training(epochs=1))


def test_a_folder_that_is_not_there_is_named(posterior, tmp_path):
    with pytest.raises(WeightsError, match="cannot be written: No such file"):
        posterior.save(tmp_path / "absent" / "flow.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scaling": "cubic"}, "scaling is 'cubic'"),
        ({"dropout": 2.0}, "dropout"),
        ({"parameters": ("X_a1", "X_a1")}, "distinct names"),
        ({"outputs": "y1"}, "tuples of names"),
        ({"steps": 10**6}, "10000 steps"),
        ({"encoder_layers": 1000}, "up to 12 layers"),
    ],
)
def test_refuses_architectures(change, said):
    with pytest.raises(InputError, match=said):
        replace(ALEATORY_FLOW, **change)


def test_refuses_other_misfits(posterior, runs, hours):
    with pytest.raises(InputError, match=r"theta has shape \(3, 2\)"):
        posterior.log_prob(np.zeros((3, 2)), hours)
    for shape in (5, (2, 3)):
        with pytest.raises(InputError, match=r"expected \(n,\)"):
            posterior.sample(shape, hours, np.random.default_rng(1))
    with pytest.raises(InputError, match="the number of draws in shape is 0; expected a whole number from 1 up"):
        posterior.sample((0,), hours, np.random.default_rng(1))
    with pytest.raises(InputError, match="X_b1"):
        HourPosterior(replace(ALEATORY_FLOW, parameters=("X_b1",)), 1).fit(runs, Training(epochs=1))
    with pytest.raises(InputError, match="heads that divide"):
        replace(ALEATORY_FLOW, heads=5)


# Weights on disk


def test_saved_and_loaded_it_is_the_same(posterior, hours, tmp_path):
    posterior.save(tmp_path / "flow.safetensors")
    loaded = HourPosterior.load(tmp_path / "flow.safetensors", device="cpu")
    assert same_answers(posterior, loaded, hours)
    assert loaded.architecture == posterior.architecture
    assert loaded.history == posterior.history
    assert loaded.identity == posterior.identity


def rewrite(path, header=None, tensors=None):
    """Change the file's header or tensors by functions."""
    with safetensors.safe_open(path, "numpy") as file:
        text = json.loads(file.metadata()["flowcal"])
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header, tensors = header or (lambda h: h), tensors or (lambda t: t)
    safetensors.numpy.save_file(tensors(values), path, {"flowcal": json.dumps(header(text))})


def with_width(header, width):
    built_with = header["built_with"]
    return header | {"built_with": built_with | {"architecture": built_with["architecture"] | {"width": width}}}


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read as weights"),
        (lambda path: path.write_text("no weights"), "cannot be read as weights"),
        (cut, "cannot be read as weights"),
        (lambda path: safetensors.numpy.save_file({"a": np.zeros(3)}, path), "metadata has no 'flowcal'"),
        (lambda path: rewrite(path, header=lambda h: h | {"kind": "Surrogate"}), "kind 'Surrogate'"),
        (lambda path: rewrite(path, header=lambda h: {"kind": "HourPosterior"}), "do not fit their header"),
        (lambda path: rewrite(path, header=lambda h: [h]), "JSON object"),
        (
            lambda path: rewrite(path, header=lambda h: with_width(h, 10**9)),
            "a width up to 512",
        ),
        (
            lambda path: rewrite(path, header=lambda h: with_width(h, 32)),
            "do not fit their header",
        ),
        (lambda path: rewrite(path, tensors=lambda t: t | {"scaling.mean": np.zeros(5, np.float32)}), "scaling.mean"),
        (lambda path: rewrite(path, tensors=lambda t: t | {"scaling.mean": t["scaling.mean"] * np.nan}), "not finite"),
    ],
)
def test_a_wrong_or_damaged_file_is_refused(posterior, tmp_path, spoil, said):
    path = tmp_path / "flow.safetensors"
    posterior.save(path)
    spoil(path)
    with pytest.raises(WeightsError, match=said):
        HourPosterior.load(path)


def test_simulated_runs_are_read_like_observed_hours(posterior, runs):
    observed = xr.merge([runs[["y"]], xr.Dataset({"x_c": (("sample", "control"), runs.x.values[:, 5:])})])
    theta = runs.x.sel(input=list(ALEATORY)).values
    assert np.array_equal(posterior.log_prob(theta, runs), posterior.log_prob(theta, observed))
