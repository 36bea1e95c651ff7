"""What is read off hours, and polynomials to fit it with."""

import numpy as np
import pytest

from flowcal.challenge import PROBLEM
from flowcal.errors import InputError
from flowcal.infer.hour_features import FEATURES, hour_features, pool_features
from flowcal.infer.point_model import moments
from flowcal.infer.polynomials import basis, count_terms
from flowcal.simulate.simulator import labelled_hours
from flowcal.simulate.windfarm import WindFarm


def hours(n=8, x_c=(0.5, 0.6, 0.5), seed=1):
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.uniform(0.2, 0.5, (n, 2)), np.tile([0.3, 0.6, 0.4, *x_c], (n, 1))])
    y = WindFarm().simulate(x, rng.integers(1, 2**31, n))
    return labelled_hours(y, x_c=(("sample", "control"), x[:, 5:]))


def test_features_are_what_they_are_called():
    y = hours().y.values
    found = hour_features(y, PROBLEM).reshape(8, 6, len(FEATURES))
    root = np.sqrt(y[3, :, 4])
    assert found[3, 4, 1:3] == pytest.approx([root.mean(), root.std()])
    assert found[3, 4, 0] == pytest.approx(np.log(y[3, :, 4]).mean())
    assert -1 <= found[3, 4, 3] <= 1


def test_a_common_factor_leaves_differences_of_mean_logarithms():
    y = hours().y.values
    of_load = hour_features(y, PROBLEM).reshape(8, 6, -1)[:, 3:, 0]
    assert np.ptp(of_load[:, 1] - of_load[:, 0]) < 1e-12


def test_calm_hours_have_no_mean_logarithm_and_are_left_out():
    observed = hours(10)
    y = observed.y.values.copy()
    y[0] = 0
    (pooled,) = pool_features(observed.assign(y=(observed.y.dims, y)), PROBLEM)
    assert (pooled.hours, len(pooled.kept)) == (9, 24)
    y[:5] = 0
    (pooled,) = pool_features(observed.assign(y=(observed.y.dims, y)), PROBLEM)
    assert (pooled.hours, len(pooled.kept)) == (10, 18)  # all hours, without mean logarithms
    with pytest.raises(InputError, match="calm"):
        pool_features(observed.assign(y=0 * observed.y), PROBLEM)


def test_relative_changes_are_derivatives():
    observed, step = hours(), 1e-6
    (pooled,) = pool_features(observed, PROBLEM)
    (larger,) = pool_features(observed.assign(y=observed.y * [1, 1, 1, 1 + step, 1 + step, 1 + step]), PROBLEM)
    change = ((larger.mean - pooled.mean) / step).reshape(6, 4)[3:, :3]
    assert change == pytest.approx(pooled.relative.reshape(6, 4)[3:, :3], rel=1e-4)


@pytest.mark.parametrize(("inputs", "degree"), [(1, 5), (3, 3), (8, 2)])
def test_polynomials_are_orthogonal_and_complete(inputs, degree):
    u = np.random.default_rng(1).random((40_000, inputs))
    values = basis(u, degree)
    assert values.shape == (len(u), count_terms(inputs, degree))
    gram = values.T @ values / len(u)
    scale = np.sqrt(np.diag(gram))
    assert gram / np.outer(scale, scale) == pytest.approx(np.eye(len(gram)), abs=0.06)
    target = (1 + u.sum(axis=1)) ** degree
    left = target - values @ np.linalg.lstsq(values, target, rcond=None)[0]
    assert np.abs(left).max() < 1e-8 * target.max()


def test_moments_are_orthonormal_whatever_the_inputs():
    x_a = np.random.default_rng(1).beta(2, 9, (500, 4, 2))
    values = moments(x_a).reshape(2000, -1)
    assert values.T @ values / 2000 == pytest.approx(np.eye(14), abs=1e-9)
    assert values.mean(axis=0) == pytest.approx(np.zeros(14), abs=1e-12)
    assert moments(np.full((50, 2, 1), 0.3)).shape == (50, 2, 0)
