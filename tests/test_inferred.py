"""Summaries of an inferred f_a: known moments, and tails with their bands and rivals."""

import numpy as np
import pytest

from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.report.export import moments, tail_of


def uniform_up_to_a_power(power):
    """X_a1 with the exceedance 1 - x ** power, X_a2 uniform."""
    marginals = Marginal("beta", (float(np.log(power)), 0.0)), Marginal("beta", (0.0, 0.0))
    return FamilyDistribution((Cluster(1.0, marginals),))


def test_moments_are_those_of_the_distribution():
    expected = [0.5, 0.5, 12**-0.5, 12**-0.5]
    assert moments(uniform_up_to_a_power(1), 1) == pytest.approx(expected, abs=0.01)


def test_tails_have_a_band_and_rivals():
    kept = [uniform_up_to_a_power(power).to_dict() for power in (1, 1, 2, 3, 4)]
    rows = [{"name": f"form {place}", "distribution": distribution} for place, distribution in enumerate(kept)]
    tail = tail_of({"distribution": kept[0], "replicates": kept[1:], "candidates": rows}, 0, np.array([0.2, 0.5]))
    assert tail.best == pytest.approx([0.8, 0.5])
    assert (tail.band[0] < tail.band[1]).all()
    assert tail.band[0][1] >= 0.5
    assert tail.band[1][1] <= 1 - 0.5**4
    assert list(tail.rivals) == ["form 1", "form 2", "form 3"]
    assert tail.rivals["form 2"] == pytest.approx([1 - 0.2**2, 1 - 0.5**2])
