"""Conditional flows on the unit cube: densities, inverses, Jacobians, and a posterior that is known exactly."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri
from torch import nn
from torch.distributions import Normal

from flowcal.errors import InputError
from flowcal.infer.flow import BoundedFlow
from flowcal.infer.train import Training, seeded, train


def make_flow(parameters=2, coupling="affine", condition=4, layers=6, hidden=(64, 64)):
    with seeded(1):
        return BoundedFlow(parameters, condition, layers, coupling, hidden, np.random.default_rng(1))


@pytest.fixture(params=[(2, "affine"), (3, "affine"), (2, "spline"), (3, "spline")], ids=str)
def flow(request):
    return make_flow(*request.param)


def dimension(flow):
    return len(flow.couplings.transforms[0].mask)


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
    outside[:500, 0], outside[500:, 1] = -1e-3, 1.001
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


@pytest.mark.parametrize(("change", "said"), [({"parameters": 1}, "at least 2"), ({"coupling": "cubic"}, "affine")])
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
