"""The estimator of X_a compared with the limit, and f_a of a population with the error of single hours taken out."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.infer.checks import coverage
from flowcal.infer.families import FAMILIES, FamilyDistribution, Form
from flowcal.infer.um2_aleatory import (
    AleatoryEstimator,
    HourLikelihood,
    estimator_runs,
    fit_family,
    infer_population,
)
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.windfarm import INNOVATION_SD, PHI, WHITE_SD, WindFarm


class KnownError:
    """An estimator whose hours tell X_a with a normal error of a known size."""

    def __init__(self, error):
        self.error = error

    def spread_evenly(self, n, observed, x_e, rng):
        return np.clip(observed + self.error * rng.standard_normal((n, *observed.shape)), 0, 1)


def numbers(form, *moments):
    return np.ravel([FAMILIES[family].from_moments(*pair) for family, pair in zip(form.families, moments, strict=True)])


@pytest.fixture(scope="module")
def narrow():
    """A narrow f_a, and a thousand values of it seen with an error as large as its spread."""
    form = Form(("normal", "normal"))
    truth = form.distribution(numbers(form, (0.4, 0.04), (0.5, 0.1)))
    rng = np.random.default_rng(1)
    return truth, truth.sample(1000, rng) + np.array([0.04, 0.01]) * rng.standard_normal((1000, 2))


@pytest.fixture(scope="module")
def inferred(narrow):
    return infer_population(KnownError(np.array([0.04, 0.01])), narrow[1], [[0.5] * 3], 200, 20, 1)


def test_errors_are_taken_out(narrow, inferred):
    sample = FamilyDistribution.from_dict(inferred["distribution"]).sample(20_000, np.random.default_rng(1))
    assert narrow[1].std(axis=0)[0] > 0.053  # what pooled draws would have
    assert sample.std(axis=0) == pytest.approx([0.04, 0.1], rel=0.1)


def test_candidates_are_ordered_and_the_first_is_chosen(inferred):
    aic = [row["aic"] for row in inferred["candidates"]]
    assert aic[0] == 0
    assert aic == sorted(aic)
    assert inferred["candidates"][0]["distribution"] == inferred["distribution"]


def test_replicates_spread_as_a_thousand_hours_allow(inferred):
    means = [
        FamilyDistribution.from_dict(kept).sample(20_000, np.random.default_rng(1)).mean(axis=0)
        for kept in inferred["replicates"]
    ]
    assert len(means) == 20
    assert np.std(means, axis=0) == pytest.approx(np.array([0.0566, 0.1]) / np.sqrt(1000), rel=0.5)


def test_one_hour_says_little_but_something():
    inferred = infer_population(KnownError(0.02), np.array([[0.3, 0.2]]), [[0.5] * 3, [0.2] * 3], 100, 10, 1)
    f_a = FamilyDistribution.from_dict(inferred["distribution"])
    sample = f_a.sample(5000, np.random.default_rng(1))
    assert (sample.std(axis=0) > 0.03).all()
    assert sample.mean(axis=0) == pytest.approx([0.3, 0.2], abs=0.15)
    medians = [
        np.median(FamilyDistribution.from_dict(kept).sample(2000, np.random.default_rng(1))[:, 0])
        for kept in inferred["replicates"]
    ]
    assert np.std(medians) > 0.01


def test_intervals_from_a_handful_of_hours_cover_a_tail():
    form = Form(("Weibull", "Weibull"))
    truth = form.distribution(numbers(form, (0.3, 0.15), (0.3, 0.12)))
    far = truth.clusters[0].marginals[0].ppf(1 - 1e-3)
    covered, families = 0, set()
    for seed in range(8):
        hours = truth.sample(10, np.random.default_rng(seed))
        inferred = infer_population(KnownError(0.02), hours, [[0.5] * 3], 20, 30, seed)
        replicates = [FamilyDistribution.from_dict(kept) for kept in inferred["replicates"]]
        low, high = np.quantile([replicate.exceedance(0, far) for replicate in replicates], [0.05, 0.95])
        covered += low <= 1e-3 <= high
        families |= {replicate.clusters[0].marginals[0].family for replicate in replicates}
    assert covered >= 6
    assert families == set(FAMILIES)  # ten hours rule none out


@pytest.mark.parametrize(
    ("form", "true"),
    [
        (Form(("Weibull", "beta")), [0.8, -1.3, 1.0, 2.0]),
        (Form(("gamma", "gamma"), "Frank"), [1.5, -2.5, 1.2, -2.6, -0.4]),
        (Form(("normal", "normal"), clusters=2), [0.2, -3.0, 0.3, -2.5, 0.6, -3.0, 0.2, -2.5, 0.5]),
        (Form(("normal", "normal"), "Gaussian", 2), [0.2, -3.0, 0.3, -2.5, 0.6, -3.0, 0.2, -2.5, 0.5, -0.6]),
    ],
)
def test_known_values_give_back_their_family(form, true):
    truth = form.distribution(true)
    f_a = fit_family(form, truth.sample(4000, np.random.default_rng(1)))
    fresh = truth.sample(20_000, np.random.default_rng(2))
    lost = np.mean(truth.log_prob(fresh) - f_a.log_prob(fresh))
    assert 0 <= lost < 2 * form.size / (2 * 4000) + 1e-3


def test_dependence_is_found_among_candidates():
    form = Form(("beta", "beta"), "Gaussian")
    truth = form.distribution([1.5, 2.7, 1.0, 1.9, -0.4])
    inferred = infer_population(KnownError(0.005), truth.sample(600, np.random.default_rng(1)), [[0.5] * 3], 50, 0, 1)
    (cluster,) = inferred["distribution"]["clusters"]
    assert cluster["copula"] != "independent"
    assert cluster["tau"] == pytest.approx(np.tanh(-0.4), abs=0.06)


@pytest.mark.parametrize(("centres", "clusters"), [((0.15, 0.4, 0.7), 3), ((0.2, 0.6), 2), ((0.4,), 1)])
def test_as_many_clusters_are_found_as_there_are(centres, clusters):
    form = Form(("normal", "normal"), clusters=len(centres))
    moments = [((centre, 0.05), (0.3, 0.06)) for centre in centres]
    truth = form.distribution([*np.concatenate([numbers(form, *pair) for pair in moments]), *[0.0] * (clusters - 1)])
    hours = truth.sample(600, np.random.default_rng(1))
    inferred = infer_population(KnownError(0.005), hours, [[0.5] * 3], 10, 0, 1)
    assert len(inferred["distribution"]["clusters"]) == clusters


def test_even_endless_numbers_make_a_distribution():
    f_a = Form(("beta", "beta"), "Clayton").distribution([1.0, 2.0, 1.0, 2.0, 50.0])
    assert np.isfinite(f_a.log_prob([[0.3, 0.3]])).all()


def test_likelihood_is_that_of_the_density():
    form = Form(("Weibull", "beta"), "Clayton")
    f_a = form.distribution([0.8, -1.3, 1.0, 2.0, 0.3])
    x_a = f_a.sample(500, np.random.default_rng(1))
    assert HourLikelihood(x_a[None])(f_a) == pytest.approx(f_a.log_prob(x_a), abs=5e-3)


def test_what_does_not_fit_is_refused(narrow):
    for x_e, draws, replicates in (([0.5] * 3, 1, 1), ([[0.5] * 3], 0, 1), ([[0.5] * 3], 1, -1)):
        with pytest.raises(InputError, match="expected"):
            infer_population(KnownError(0.1), narrow[1], x_e, draws, replicates, 1)


# The estimator


@pytest.fixture(scope="module")
def fresh():
    """Hours with all inputs uniform that nothing was trained on."""
    rng = np.random.default_rng(99)
    return run_campaign(WindFarm(), rng.random((4000, 8)), rng.integers(1, 2**31, 4000))


def likeliest(hours):
    """Maximum-likelihood X_a (n, 2) of hours without a calm minute, by the noise law and the true X_e and X_c."""
    x, minute = hours.x.values, np.arange(60)
    yaw = np.deg2rad(-30 + 75 * x[:, 5] + 1 - 3 * x[:, 2])
    wind = np.sqrt(hours.y.values[:, :, 3] / (1 + 3 * np.abs(np.sin(yaw)))[:, None]) / 50
    memory = PHI ** np.abs(minute[:, None] - minute)
    precision = np.linalg.inv(INNOVATION_SD**2 / (1 - PHI**2) * memory + WHITE_SD**2 * np.eye(60))
    level = wind @ precision.sum(axis=1) / precision.sum()
    rest = wind - level[:, None]
    return np.column_stack([level, np.sqrt(np.einsum("ni,ij,nj->n", rest, precision, rest) / 60)])


def test_errors_are_within_a_tenth_of_the_limit(estimator, fresh):
    windy = fresh.isel(sample=(fresh.y.values[:, :, 3] > 0).all(axis=1))
    x_a, x_e = windy.x.values[:, :2], windy.x.values[:, 2:5]
    estimate = estimator.sample(100, windy, x_e, np.random.default_rng(1)).mean(axis=0)
    error, limit = (np.sqrt(np.mean((guess - x_a) ** 2, axis=0)) for guess in (estimate, likeliest(windy)))
    assert limit == pytest.approx([0.0140, 0.0525], rel=0.06)
    assert (error <= 1.1 * limit).all()


def test_intervals_cover(estimator, fresh):
    rng = np.random.default_rng(2)
    draws = estimator.sample(199, fresh, fresh.x.values[:, 2:5], rng)
    rank = (np.sum(draws < fresh.x.values[:, :2], axis=0) + rng.random((4000, 2))) / 200
    assert coverage(rank, 0.9) == pytest.approx([0.9, 0.9], abs=0.02)


def test_even_draws_are_like_random_ones(estimator, fresh):
    few = fresh.isel(sample=slice(5))
    even = estimator.spread_evenly(256, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    random = estimator.sample(20_000, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    assert even.shape == (256, 5, 2)
    spread = random.std(axis=0)
    assert np.abs((even.mean(axis=0) - random.mean(axis=0)) / spread).max() < 0.05
    assert even.std(axis=0) == pytest.approx(spread, rel=0.05)


def test_density_has_its_mass_where_draws_are(estimator, fresh):
    few = fresh.isel(sample=slice(3))
    draws = estimator.sample(50, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    inside = estimator.log_prob(draws, few, [0.3, 0.6, 0.4])
    assert inside.shape == (50, 3)
    assert inside.mean() > estimator.log_prob(1 - draws, few, [0.3, 0.6, 0.4]).mean()


def test_a_value_of_x_e_for_all_or_for_each(estimator, fresh):
    few = fresh.isel(sample=slice(3))
    for x_e in ([0.3, 0.6], np.zeros((2, 3))):
        with pytest.raises(InputError, match=r"expected \(3,\) or \(3, 3\)"):
            estimator.sample(1, few, x_e, np.random.default_rng(1))


def test_runs_do_not_depend_on_how_they_are_split(monkeypatch):
    whole = estimator_runs(WindFarm(), 50, 1)
    monkeypatch.setattr("flowcal.infer.um2_aleatory.RUNS_AT_A_TIME", 17)
    assert estimator_runs(WindFarm(), 50, 1).identical(whole)


def test_it_is_kept_without_loss(estimator, fresh):
    again = AleatoryEstimator.from_weights(estimator.to_weights())
    assert again.identity == estimator.identity
