"""Named families: densities that integrate, samples that follow them, tails that are right far out."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import kendalltau, kstest

from flowcal.errors import InputError
from flowcal.infer.families import COPULAS, FAMILIES, Cluster, FamilyDistribution, Form, Marginal, make_copula

AXIS = (np.arange(400) + 0.5) / 400
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), -1).reshape(-1, 2)


def marginal(family, mean=0.3, spread=0.12):
    return Marginal(family, FAMILIES[family].from_moments(mean, spread))


@pytest.mark.parametrize("family", FAMILIES)
def test_marginals_have_about_the_moments_asked_for(family):
    grid = (np.arange(10_000) + 0.5) / 10_000
    density = marginal(family).pdf(grid)
    assert density.mean() == pytest.approx(1, abs=1e-4)
    assert np.mean(grid * density) == pytest.approx(0.3, abs=0.02)
    assert np.sqrt(np.mean((grid - 0.3) ** 2 * density)) == pytest.approx(0.12, abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_functions_of_a_marginal_agree(family):
    one, share = marginal(family, spread=0.25), np.array([0, 1e-4, 0.3, 0.9, 1])  # much of it cut off
    assert one.cdf(one.ppf(share)) == pytest.approx(share, abs=1e-9)
    assert one.sf(one.ppf(share)) == pytest.approx(1 - share, abs=1e-9)
    assert one.cdf([0, 1]) == pytest.approx([0, 1])
    step = 1e-5
    assert (one.cdf(0.4 + step) - one.cdf(0.4 - step)) / (2 * step) == pytest.approx(one.pdf(0.4), rel=1e-4)


def test_exceedance_is_precise_far_out():
    weibull = Marginal("Weibull", (np.log(2.4), np.log(0.2)))
    f_a = FamilyDistribution((Cluster(1.0, (weibull, weibull)),))
    assert f_a.exceedance(0, 0.9) == pytest.approx(np.exp(-(4.5**2.4)) - np.exp(-(5**2.4)), rel=1e-6)


@pytest.mark.parametrize(("copula", "tau"), list(product(COPULAS[1:], (-0.4, 0.0, 0.4))))
def test_copulas_keep_marginals_and_have_their_tau(copula, tau):
    f_a = FamilyDistribution((Cluster(1.0, (marginal("Weibull"), marginal("beta")), copula, tau),))
    density = np.exp(f_a.log_prob(GRID))
    assert density.mean() == pytest.approx(1, abs=1e-3)
    assert density.reshape(400, 400).mean(axis=1) == pytest.approx(marginal("Weibull").pdf(AXIS), abs=0.02)
    sample = f_a.sample(5000, np.random.default_rng(1))
    assert kendalltau(*sample.T).statistic == pytest.approx(tau, abs=0.03)
    assert kstest(sample[:, 1], marginal("beta").cdf).pvalue > 1e-3


def test_clusters_add_up():
    near, far = marginal("normal", 0.2, 0.05), marginal("normal", 0.7, 0.05)
    f_a = FamilyDistribution((Cluster(0.3, (near, near)), Cluster(0.7, (far, far))))
    assert np.exp(f_a.log_prob(GRID)).mean() == pytest.approx(1, abs=1e-3)
    assert np.mean(f_a.sample(20_000, np.random.default_rng(1))[:, 0] > 0.45) == pytest.approx(0.7, abs=0.01)
    assert f_a.exceedance(0, 0.45) == pytest.approx(0.7, abs=1e-5)


def test_it_is_kept_without_loss():
    f_a = FamilyDistribution((Cluster(1.0, (marginal("gamma"), marginal("log-normal")), "Clayton", -0.3),))
    again = FamilyDistribution.from_dict(f_a.to_dict())
    assert (again.log_prob(GRID) == f_a.log_prob(GRID)).all()
    assert again.identity == f_a.identity


def test_nothing_lies_outside():
    f_a = FamilyDistribution((Cluster(1.0, (marginal("normal"), marginal("normal"))),))
    assert (f_a.log_prob([[-0.1, 0.5], [0.5, 1.1]]) == -np.inf).all()
    sample = f_a.sample(2000, np.random.default_rng(1))
    assert ((sample >= 0) & (sample <= 1)).all()


@pytest.mark.parametrize(("name", "tau"), [("Joe", 0.2), ("Frank", 1.0)])
def test_unknown_copulas_are_refused(name, tau):
    with pytest.raises(InputError, match="expected one of"):
        make_copula(name, tau)


def test_points_of_another_shape_are_refused():
    f_a = FamilyDistribution((Cluster(1.0, (marginal("normal"), marginal("normal"))),))
    with pytest.raises(InputError, match=r"expected \(n, 2\)"):
        f_a.log_prob([0.1, 0.2])


def vine(taus):
    """Three to five inputs, joined by a D-vine of Clayton copulas."""
    marginals = tuple(marginal(name) for name in ("beta", "Weibull", "normal", "gamma", "beta")[: len(taus) + 1])
    return FamilyDistribution((Cluster(1.0, marginals, "Clayton", taus),))


@pytest.mark.parametrize("taus", [(0.4, -0.3), (0.4, -0.3, 0.2, 0.5)])
def test_vines_keep_marginals_and_have_a_tau_for_each_pair(taus):
    f_a, size = vine(taus), len(taus) + 1
    sample = f_a.sample(6000, np.random.default_rng(1))
    found = [kendalltau(*sample[:, pair : pair + 2].T).statistic for pair in range(size - 1)]
    assert found == pytest.approx(taus, abs=0.03)
    assert all(kstest(x, part.cdf).pvalue > 1e-3 for x, part in zip(sample.T, f_a.clusters[0].marginals, strict=True))


def test_density_of_a_vine_integrates_to_one():
    points = np.random.default_rng(1).random((200_000, 3))
    assert np.exp(vine((0.4, -0.3)).log_prob(points)).mean() == pytest.approx(1, abs=0.03)


def test_a_vine_and_a_single_input_are_kept_without_loss():
    alone = FamilyDistribution((Cluster(1.0, (marginal("beta"),)),))
    for f_a, size in ((vine((0.4, -0.3)), 3), (alone, 1)):
        again, points = FamilyDistribution.from_dict(f_a.to_dict()), np.random.default_rng(1).random((50, size))
        assert (again.log_prob(points) == f_a.log_prob(points)).all()
        assert again == f_a


def test_a_single_input_needs_no_copula():
    form = Form(("beta",), clusters=2)
    assert form.size == form.start(np.random.default_rng(1).random((50, 1))).size == 5
    assert form.name == "beta, 2 clusters"
    f_a = form.distribution(form.prior_mean())
    assert np.exp(f_a.log_prob(AXIS[:, None])).mean() == pytest.approx(1, abs=1e-3)
    assert f_a.sample(10, np.random.default_rng(1)).shape == (10, 1)


def test_forms_count_the_numbers_of_a_vine():
    form = Form(("beta", "normal", "gamma"), "Frank", 2)
    assert form.size == 2 * 6 + 1 + 2
    x_a = np.random.default_rng(1).random((80, 3))
    assert len(form.start(x_a)) == len(form.prior_mean()) == form.size
    assert len(form.distribution(form.start(x_a)).clusters[0].tau) == 2


@pytest.mark.parametrize(("families", "copula"), [((), "independent"), (("beta",) * 6, "Frank"), (("beta",), "Frank")])
def test_forms_have_one_to_five_inputs(families, copula):
    with pytest.raises(InputError, match="expected 1 to 5 inputs"):
        Form(families, copula)


def test_a_vine_with_too_few_taus_is_refused():
    kept = vine((0.4, -0.3)).to_dict()
    kept["clusters"][0]["tau"] = [0.4]
    with pytest.raises(InputError, match="a tau a pair"):
        FamilyDistribution.from_dict(kept)
