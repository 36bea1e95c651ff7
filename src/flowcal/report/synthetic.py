"""Synthetic real systems: an X_e* and an f_a drawn at random, and the hours that they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.challenge import EPISTEMIC, SEED_MAX, TABLE_1
from flowcal.infer.families import FAMILIES, FamilyDistribution
from flowcal.infer.population import Form
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = ["ENTROPY", "SHAPES", "Shape", "SyntheticSystem", "synthetic_system"]

HOURS = 100  # for each control point, as the challenge grants
ENTROPY = 7
"""Seed of all that is drawn for a system, beside its number."""


@dataclass(frozen=True)
class Shape:
    """A kind of f_a.

    Attributes
    ----------
    form : Form
        Its families.
    draw : callable
        From a generator to the form's numbers.
    """

    form: Form
    draw: Callable[[np.random.Generator], Sequence[float]]


def _moments(family: str, mean: float, spread: float) -> tuple[float, float]:
    return FAMILIES[family].from_moments(mean, spread)


def _plain(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.15, 0.35, 2), rng.uniform(0.35, 0.55, 2)
    return [n for mean, share in zip(means, shares, strict=True) for n in _moments("Weibull", mean, share * mean)]


def _correlated(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.2, 0.4, 2), rng.uniform(0.3, 0.5, 2)
    numbers = [n for mean, share in zip(means, shares, strict=True) for n in _moments("beta", mean, share * mean)]
    return [*numbers, rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)]


def _bimodal(rng: np.random.Generator) -> list[float]:
    low, high = rng.uniform(0.12, 0.2), rng.uniform(0.4, 0.55)
    numbers = [
        *_moments("normal", low, 0.04),
        *_moments("normal", rng.uniform(0.1, 0.3), 0.06),
        *_moments("normal", high, 0.06),
        *_moments("normal", rng.uniform(0.1, 0.3), 0.06),
    ]
    return [*numbers, rng.uniform(-1, 1)]


def _narrow(rng: np.random.Generator) -> list[float]:
    mean = rng.uniform(0.2, 0.4)
    spread = rng.uniform(0.3, 0.5) * mean
    return [*_moments("gamma", mean, spread), *_moments("gamma", rng.uniform(0.2, 0.5), rng.uniform(0.02, 0.035))]


def _trimodal(rng: np.random.Generator) -> list[float]:
    numbers = [
        n
        for centre in (0.15, 0.3, 0.5)
        for n in (
            *_moments("normal", centre, rng.uniform(0.04, 0.07)),
            *_moments("normal", rng.uniform(0.1, 0.4), 0.06),
        )
    ]
    return [*numbers, *rng.uniform(-0.7, 0.7, 2)]


def _correlated_clusters(rng: np.random.Generator) -> list[float]:
    low, high = rng.uniform(0.15, 0.25), rng.uniform(0.4, 0.5)
    numbers = [
        *_moments("Weibull", low, 0.06),
        *_moments("Weibull", rng.uniform(0.1, 0.2), 0.06),
        *_moments("Weibull", high, 0.1),
        *_moments("Weibull", rng.uniform(0.3, 0.4), 0.1),
    ]
    return [*numbers, rng.uniform(-1, 1), rng.choice([-1, 1]) * rng.uniform(0.4, 0.8)]


SHAPES: Mapping[str, Shape] = {
    "plain": Shape(Form(("Weibull", "Weibull")), _plain),
    "correlated": Shape(Form(("beta", "beta"), "Gaussian"), _correlated),
    "bimodal": Shape(Form(("normal", "normal"), clusters=2), _bimodal),
    "narrow": Shape(Form(("gamma", "gamma")), _narrow),
    "trimodal": Shape(Form(("normal", "normal"), clusters=3), _trimodal),
    "outside": Shape(Form(("Weibull", "Weibull"), "Gaussian", clusters=2), _correlated_clusters),
}
"""Kinds of f_a. An hour can hardly tell the X_a2 of 'narrow' from a constant; no candidate has the form 'outside', two
clusters with inputs that depend on each other within each.

:meta hide-value:
"""


@dataclass(frozen=True)
class SyntheticSystem:
    """A real system that is made up: its X_e*, its f_a, and what it showed at Table 1's points.

    Attributes
    ----------
    number : int
    shape : str
        One of `SHAPES`.
    x_e : ndarray, shape (3,)
    f_a : FamilyDistribution
    x_a : ndarray, shape (1000, 2)
        Of the hours that it showed.
    observed : Dataset
        y and x_c by sample (1000): a hundred hours at each point.
    """

    number: int
    shape: str
    x_e: NDArray[np.float64]
    f_a: FamilyDistribution
    x_a: NDArray[np.float64]
    observed: xr.Dataset


def synthetic_system(simulator: Simulator, number: int) -> SyntheticSystem:
    """The system of a number; shapes take turns, all else is drawn at random.

    Parameters
    ----------
    simulator : Simulator
    number : int
        From 0 up.

    Returns
    -------
    SyntheticSystem

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> system = synthetic_system(WindFarm(), 2)
    >>> system.shape, dict(system.observed.y.sizes)
    ('bimodal', {'sample': 1000, 'time': 60, 'output': 6})
    """
    rng = np.random.default_rng([ENTROPY, number])
    name = list(SHAPES)[number % len(SHAPES)]
    shape = SHAPES[name]
    x_e, f_a = rng.random(len(EPISTEMIC)), shape.form.distribution(shape.draw(rng))
    x_c = np.repeat(TABLE_1, HOURS, axis=0)
    x_a = f_a.sample(len(x_c), rng)
    x = np.column_stack([x_a, np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(simulator, x, rng.integers(1, SEED_MAX, len(x), endpoint=True))
    observed = runs[["y"]].assign(x_c=(("sample", "control"), x_c))
    return SyntheticSystem(number, name, x_e, f_a, x_a, observed)
