"""Severity: one number an hour decides all peaks, and a black box for which it does not is told apart."""

import numpy as np
import pytest

from flowcal.decide.failure import Severity, SeverityError, check_severity, failure_levels, measure_severity
from flowcal.errors import InputError
from flowcal.simulate.windfarm import WindFarm

X_E, X_C = (0.3, 0.6, 0.4), (0.6, 0.4, 0.7)


class Shaken(WindFarm):
    """A black box whose seeds shake one load on their own."""

    def simulate(self, x, seed):
        y = super().simulate(x, seed)
        y[:, :, 4] *= 1 + 0.1 * (np.asarray(seed) % 7)[:, None]
        return y


def test_peaks_of_the_embedded_box_are_decided_by_severity():
    assert check_severity(WindFarm(), 300, 1e-9, np.random.default_rng(1)) < 1e-9


def test_another_box_is_refused():
    with pytest.raises(SeverityError, match="one number an hour"):
        check_severity(Shaken(), 100, 1e-3, np.random.default_rng(1))


def test_exceedance_is_the_share_of_hours_that_fail():
    severity = measure_severity(WindFarm(), [0.5] * 3, [0.5] * 3, 4000, np.random.default_rng(1))
    x_a = np.array([0.5, 0.6])
    level = failure_levels(WindFarm(), [X_E], [X_C], (1600.0, 1e9, 1e9))[0, 0]
    x = np.tile([*x_a, *X_E, *X_C], (20_000, 1))
    peaks = WindFarm().simulate(x, np.arange(1, len(x) + 1))[:, :, 3].max(axis=1)
    share = severity.exceedance(x_a[None], level)[0]
    assert 0.05 < share < 0.95
    assert share == pytest.approx((peaks > 1600).mean(), abs=0.03)  # errors of 4,000 and of 20,000 seeds


def test_survival_falls_from_one_to_zero_without_a_jump():
    severity = Severity(np.random.default_rng(1).gumbel(0.17, 0.03, 3000))
    survival = severity.survival(np.linspace(-0.2, 1, 2000))
    assert survival[0] == 1
    assert (np.diff(survival) <= 1e-12).all()
    assert np.abs(np.diff(survival)).max() < 0.02
    assert 0 < severity.survival(severity.noise[-1]) < 2e-3  # the tail goes on beyond the largest


def test_without_noise_severity_is_certain():
    severity = Severity(np.random.default_rng(1).random(300))
    assert severity.exceedance([[0.5, 0.0], [0.7, 0.0]], 0.6).tolist() == [0, 1]


def test_a_load_reaches_its_threshold_at_its_level():
    level = failure_levels(WindFarm(), [X_E], [X_C], (800.0, 700.0, 600.0))[0]
    for load, threshold in enumerate((800.0, 700.0, 600.0)):
        y = WindFarm().simulate([[level[load], 0, *X_E, *X_C]], [1])
        assert y[0, :, 3 + load].max() == pytest.approx(threshold)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="expected at least 200"):
        Severity(np.ones(10))
    with pytest.raises(InputError, match="above 0"):
        failure_levels(WindFarm(), [X_E], [X_C], (1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="more than 200"):
        measure_severity(WindFarm(), X_E, X_C, 100, np.random.default_rng(1))
