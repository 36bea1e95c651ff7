"""Conditional flows on the unit cube, and posteriors given features: right where the answer is known, and saved."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal

from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError, read_weights, write_weights
from flowcal.infer.networks import BoundedFlow, FeaturePosterior, Layout
from flowcal.infer.train import Training, seeded, train


def make_flow(parameters=2, coupling="affine", condition=4, layers=6, hidden=(64, 64)):
    with seeded(1):
        return BoundedFlow(parameters, condition, layers, coupling, hidden, np.random.default_rng(1))


@pytest.fixture(params=[(1, "affine"), (2, "affine"), (3, "affine"), (2, "spline"), (3, "spline")], ids=str)
def flow(request):
    return make_flow(*request.param)


def dimension(flow):
    mask = getattr(flow.couplings.transforms[0], "mask", [True])  # a single parameter is not split
    return len(mask)


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_density_integrates_to_one(coupling):
    """On a grid that is even behind the quantile function, for mass may gather at the bounds."""
    axis = torch.linspace(-5, 5, 401)
    z = torch.cartesian_prod(axis, axis)
    condition = torch.full((1, 4), 2.0).expand(len(z), 4)
    with torch.no_grad():
        density = make_flow(2, coupling).log_prob(Normal(0, 1).cdf(z), condition).exp()
    weight = Normal(0, 1).log_prob(z).sum(dim=-1).exp() * (10 / 400) ** 2
    assert density.std() > 0.1
    assert (density * weight).sum().item() == pytest.approx(1, abs=1e-3)


def test_inverse_leads_back(flow):
    torch.manual_seed(1)
    condition, z = torch.randn(64, 4), torch.randn(64, dimension(flow))
    theta = flow.from_normal(z, condition)
    inside = ((theta > 1e-3) & (theta < 1 - 1e-3)).all(dim=-1)
    opened = Normal(0, 1).icdf(theta)
    assert inside.sum() > 30
    assert torch.allclose(flow.couplings(condition)(opened)[inside], z[inside], atol=2e-2)


def test_density_agrees_with_automatic_differentiation(flow):
    torch.manual_seed(2)
    z, condition = torch.randn(dimension(flow)) / 2, torch.randn(1, 4)
    jacobian = torch.autograd.functional.jacobian(lambda value: flow.from_normal(value[None], condition)[0], z)
    theta = flow.from_normal(z[None], condition)
    expected = Normal(0, 1).log_prob(z).sum() - torch.linalg.slogdet(jacobian).logabsdet
    assert flow.log_prob(theta, condition).item() == pytest.approx(expected.item(), abs=1e-3)


def test_samples_stay_in_the_cube_and_the_density_outside_is_nought(flow):
    condition = torch.randn(1000, 4)
    theta = flow.from_normal(4 * torch.randn(1000, dimension(flow)), condition)
    assert ((theta >= 0) & (theta <= 1)).all()
    assert torch.isfinite(flow.log_prob(theta, condition)).all()
    outside = theta.clone()
    outside[:500, 0], outside[500:, -1] = -1e-3, 1.001
    assert (flow.log_prob(outside, condition) == -torch.inf).all()
    corners = torch.tensor([[0.0] * dimension(flow), [1.0] * dimension(flow)])
    assert torch.isfinite(flow.log_prob(corners, condition[:2])).all()


def test_gradients_reach_every_weight(flow):
    flow.log_prob(torch.rand(32, dimension(flow)), torch.randn(32, 4)).mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in flow.parameters())


def test_each_layer_transforms_both_parts_and_splits_differ():
    masks = [coupling.mask.tolist() for coupling in make_flow(3).couplings.transforms]
    assert len(masks) == 12
    assert all(first == [not part for part in second] for first, second in zip(masks[::2], masks[1::2], strict=True))
    assert len({tuple(mask) for mask in masks[::2]}) > 2


@pytest.mark.parametrize(("change", "said"), [({"parameters": 0}, "at least one"), ({"coupling": "cubic"}, "affine")])
def test_refuses(change, said):
    with pytest.raises(InputError, match=said):
        make_flow(**change)


class Regression(nn.Module):
    """A flow that is given a vector rather than an hour."""

    def __init__(self, coupling):
        super().__init__()
        self.flow = make_flow(2, coupling, condition=3, layers=3, hidden=(32, 32))

    def loss(self, theta, x):
        return -self.flow.log_prob(theta, x)


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_linear_gaussian_posterior_is_met(coupling):
    """Behind the normal quantile function: u ~ N(0, I), x = A u + noise; so u given x is normal with known moments."""
    a, noise = np.array([[1.0, 0.5], [-0.3, 1.2], [0.8, 0.1]]), 0.5
    rng = np.random.default_rng(1)

    def draw(n):
        u = rng.standard_normal((n, 2))
        x = u @ a.T + noise * rng.standard_normal((n, 3))
        return [torch.tensor(part, dtype=torch.float32) for part in (ndtr(u), x)]

    network = Regression(coupling)
    train(network, network.loss, draw(30_000), Training(epochs=8, batch_size=256, learning_rate=5e-3))
    theta, x = draw(20_000)
    u = ndtri(theta.double().numpy())
    covariance = np.linalg.inv(np.eye(2) + a.T @ a / noise**2)
    offset = u - x.numpy() @ (covariance @ a.T / noise**2).T
    exact = -0.5 * np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
    exact += -0.5 * np.linalg.slogdet(covariance)[1] + 0.5 * (u**2).sum(axis=1)
    with torch.no_grad():
        divergence = np.mean(exact - network.flow.log_prob(theta, x).numpy())
    assert -0.01 < divergence < 0.02  # nats, Kullback-Leibler, averaged over x


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
        layout = {**header["built_with"]["layout"], "width": 10**9}
        header["built_with"] = header["built_with"] | {"layout": layout}
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
    with pytest.raises(InputError, match=r"features of row 0, column 0, is nan; expected finite numbers"):
        posterior.sample(1, features * np.nan, np.random.default_rng(1))
    with pytest.raises(InputError, match=r"features has shape \(\); expected \(n, 3\)"):
        posterior.sample(1, 1e6, np.random.default_rng(1))
    with pytest.raises(InputError, match=r"features has shape \(\); expected \(n, 3\)"):
        posterior.log_prob(theta, 1e6)
    with pytest.raises(InputError, match=r"theta of row 0, column 0, is 1.6.*; expected numbers in \[0, 1\]"):
        FeaturePosterior(Layout(3, 3), 1).fit(theta + 1, features, Training(epochs=1))
    with pytest.raises(InputError, match=r"expected \(\.\.\., 2000, 3\)"):
        posterior.log_prob(theta[:5], features)
    with pytest.raises(InputError, match="whole numbers"):
        Layout(3, 0)


def test_one_parameter_has_a_posterior():
    """A bimodal one: the parameter is known but for its reflection at one half."""
    rng = np.random.default_rng(1)
    theta = rng.random((20_000, 1))
    features = np.abs(theta - 0.5) + 0.02 * rng.standard_normal(theta.shape)
    training = Training(epochs=8, batch_size=256, learning_rate=3e-3)
    posterior = FeaturePosterior(Layout(1, 1), 1).fit(theta, features, training)
    draws = posterior.sample(4000, [[0.3]], np.random.default_rng(2))[:, 0, 0]
    assert np.mean(np.abs(draws - 0.5) > 0.2) > 0.95
    assert np.mean(draws > 0.5) == pytest.approx(0.5, abs=0.06)
    grid = (np.arange(1000) + 0.5) / 1000
    density = np.exp(posterior.log_prob(grid[:, None, None], [[0.3]]))
    assert density.mean() == pytest.approx(1, abs=0.02)
