"""Posteriors from features: right where the answer is known, kept and read without loss."""

import numpy as np
import pytest
from scipy.stats import norm

from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError, read_weights, write_weights
from flowcal.infer.posteriors import FeaturePosterior, Layout
from flowcal.infer.train import Training

NOISE = 0.05


@pytest.fixture(scope="module")
def trained():
    """A posterior of three parameters from noisy copies that lie around a million, and pairs it has not seen."""
    rng = np.random.default_rng(1)
    theta = rng.random((32_000, 3))
    features = 1e6 + 1e-3 * (theta + NOISE * rng.standard_normal(theta.shape))
    posterior = FeaturePosterior(Layout(3, 3), random_seed=1)
    posterior.fit(theta[:-2000], features[:-2000], Training(epochs=10, batch_size=256, learning_rate=3e-3))
    return posterior, theta[-2000:], features[-2000:]


def test_it_comes_close_to_the_true_posterior(trained):
    posterior, theta, features = trained
    centre = (features - 1e6) / 1e-3
    inside = norm.cdf(1, centre, NOISE) - norm.cdf(0, centre, NOISE)
    exact = (norm.logpdf(theta, centre, NOISE) - np.log(inside)).sum(axis=1)
    divergence = np.mean(exact - posterior.log_prob(theta, features))
    assert -0.01 < divergence < 0.1


def test_draws_stay_in_the_cube_and_cover(trained):
    posterior, theta, features = trained
    draws = posterior.sample(200, features, np.random.default_rng(2))
    assert ((draws >= 0) & (draws <= 1)).all()
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    assert np.mean((low < theta) & (theta < high), axis=0) == pytest.approx([0.9] * 3, abs=0.03)


def test_shared_normals_give_the_same_draws_alone_or_together(trained):
    posterior, _, features = trained
    z = np.random.default_rng(3).standard_normal((5, 1, 3))
    assert posterior.from_normal(z, features[:4])[:, 2] == pytest.approx(
        posterior.from_normal(z, features[2:3])[:, 0], abs=1e-5
    )


def test_log_prob_of_many_draws_at_once(trained):
    posterior, theta, features = trained
    stacked = np.stack([theta, theta[::-1]])
    assert posterior.log_prob(stacked, features)[0] == pytest.approx(posterior.log_prob(theta, features), abs=1e-4)
    assert posterior.log_prob([[0.5, 0.5, 1.5]], features[:1]) == -np.inf


def test_it_is_kept_without_loss(trained, tmp_path):
    posterior, theta, features = trained
    write_weights(tmp_path / "kept", posterior.to_weights())
    again = FeaturePosterior.from_weights(read_weights(tmp_path / "kept"))
    assert (again.log_prob(theta, features) == posterior.log_prob(theta, features)).all()
    assert again.identity == posterior.identity
    assert again.history == posterior.history


def damaged(weights, how):
    header, tensors = dict(weights.header), dict(weights.tensors)
    if how == "kind":
        header["kind"] = "HourPosterior"
    elif how == "layout":
        header["layout"] = {**header["layout"], "width": 10**9}
    elif how == "missing":
        del tensors["mean"]
    else:
        tensors["mean"] = tensors["mean"] * np.nan
    return Weights(header, tensors)


@pytest.mark.parametrize("how", ["kind", "layout", "missing", "nan"])
def test_weights_of_something_else_are_refused(trained, how):
    with pytest.raises(WeightsError, match="the weights"):
        FeaturePosterior.from_weights(damaged(trained[0].to_weights(), how))


def test_what_does_not_fit_is_refused(trained):
    posterior, theta, features = trained
    with pytest.raises(InputError, match=r"expected \(n, 3\), all finite"):
        posterior.sample(1, features * np.nan, np.random.default_rng(1))
    with pytest.raises(InputError, match=r"features have shape \(\)"):
        posterior.sample(1, 1e6, np.random.default_rng(1))
    with pytest.raises(InputError, match=r"features have shape \(\)"):
        posterior.log_prob(theta, 1e6)
    with pytest.raises(InputError, match="within"):
        FeaturePosterior(Layout(3, 3), 1).fit(theta + 1, features, Training(epochs=1))
    with pytest.raises(InputError, match=r"expected \(\.\.\., 2000, 3\)"):
        posterior.log_prob(theta[:5], features)
    with pytest.raises(InputError, match="whole numbers"):
        Layout(3, 0)
