"""The NASA and DNV Challenge 2025 as data: names, units, thresholds, designs and what has been published on them.

The problem is that of [1]_; what the paper adds to it is marked as such.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
.. [2] T. Wang, S. Bi, I. Gal, S. Fichera and J. Mottershead, "Data-driven Model Updating Solution for the NASA and DNV
   Challenge 2025 on Optimisation under Uncertainty with Flow-based Neural Networks", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd.
.. [3] Roy Sarkar et al., ESREL SRA-E 2025, paper P7698.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flowcal.problem import Problem

__all__ = [
    "ALEATORY",
    "BASELINE",
    "CONTROL",
    "EPISTEMIC",
    "INPUTS",
    "LOADS",
    "OUTPUTS",
    "OUTPUT_UNITS",
    "POWERS",
    "PROBLEM",
    "PUBLISHED",
    "PUBLISHED_SWEEP_ENDS",
    "PUBLISHED_TURNING_POINTS",
    "RATED_POWER",
    "SWEEP_BASE",
    "SWEEP_SEED",
    "TABLE_1",
    "THRESHOLDS",
    "TIME_STEPS",
    "Design",
    "PublishedEntry",
]

ALEATORY = ("X_a1", "X_a2")
"""Inputs that differ from hour to hour, by a distribution f_a that nobody knows."""

EPISTEMIC = ("X_e1", "X_e2", "X_e3")
"""Inputs that have one value each, which nobody knows."""

CONTROL = ("X_c1", "X_c2", "X_c3")
"""Inputs that a design sets."""

INPUTS = ALEATORY + EPISTEMIC + CONTROL
"""The eight inputs in the order every simulator takes them, each standardised to [0, 1]."""

POWERS = ("y1", "y2", "y3")
"""Outputs that a design shall make large [MW]."""

LOADS = ("y4", "y5", "y6")
"""Outputs that a design shall keep below their thresholds."""

OUTPUTS = POWERS + LOADS
"""The six outputs in the order in which every simulator returns them."""

OUTPUT_UNITS: Mapping[str, str] = MappingProxyType(dict.fromkeys(POWERS, "MW") | dict.fromkeys(LOADS, "1"))
"""Units of the outputs; the challenge gives the loads none."""

TIME_STEPS = 60
"""Steps of an hour, one minute each."""

RATED_POWER = 3.35
"""Largest value of y1, y2 and y3 [MW]."""

THRESHOLDS: Mapping[str, float] = MappingProxyType({"y4": 2750.0, "y5": 2000.0, "y6": 1000.0})
"""The constants c_i of the limit states: a run fails where max over t of y_i exceeds its threshold [2]_."""

PROBLEM = Problem(
    ALEATORY,
    EPISTEMIC,
    CONTROL,
    OUTPUTS,
    tuple(OUTPUT_UNITS.values()),
    TIME_STEPS,
    maximised=POWERS,
    limited=LOADS,
    thresholds=tuple(THRESHOLDS.values()),
    ceiling=RATED_POWER,
)
"""The challenge's black box as every method takes it."""

BASELINE = (0.533, 0.666, 0.5)
"""The control point X_c at which prediction intervals are asked for [2]_."""

SWEEP_BASE = (0.1, 0.2, 0.3, 0.4, 0.5, *BASELINE)
"""Base point of the one-at-a-time sweeps of [2]_, section 3.1."""

SWEEP_SEED = 10
"""Their seed."""

PUBLISHED_SWEEP_ENDS: Mapping[str, float] = MappingProxyType({"y4": 4000.0, "y5": 1750.0, "y6": 3400.0})
"""Where [2]_, section 3.1, sees the loads arrive as X_a1 goes to 1."""

PUBLISHED_TURNING_POINTS: Mapping[str, float] = MappingProxyType({"X_c1": 0.4, "X_c2": 0.6})
"""Where [2]_, section 3.1, sees the outputs turn along the control inputs."""

TABLE_1 = (
    (0.225, 0.1, 0.05),
    (0.65, 0.775, 0.65),
    (0.9, 0.425, 0.15),
    (0.725, 0.275, 0.75),
    (0.15, 0.95, 0.85),
    (0.075, 0.6, 0.25),
    (0.4, 0.55, 0.95),
    (0.45, 0.35, 0.45),
    (0.35, 0.65, 0.55),
    (0.575, 0.85, 0.35),
)
"""The ten control points X_c at which [2]_ observed the real system (its Table 1)."""


@dataclass(frozen=True)
class Design:
    """A published optimal design: control point, J [MW] and probability of failure, the last two None if not given."""

    x_c: tuple[float, float, float]
    j: float | None = None
    pof: float | None = None


@dataclass(frozen=True)
class PublishedEntry:
    """What one team published: X_e, prediction intervals at the baseline, optimal designs.

    The source is where it was published. `x_e_intervals` are the box E, by epistemic input, and `x_e_best` the best
    guess of X_e, None where not given. The prediction is, by alpha and output, the supremum of the lower bound, NaN
    where it is not published, and the infimum of the upper bound; `prediction_reading` says how each alpha's bounds
    were taken: over all minutes of all hours ('time flattened') or 'per trajectory'. Designs go by problem:
    'performance', 'reliability', 'epsilon 1e-3', 'epsilon 1e-4'. The effort is what was spent or reached, by name, as a
    range; the ends are equal where one value is given.
    """

    source: str
    x_e_intervals: Mapping[str, tuple[float, float]]
    x_e_best: tuple[float, float, float] | None
    prediction: Mapping[float, Mapping[str, tuple[float, float]]]
    prediction_reading: Mapping[float, str]
    designs: Mapping[str, Design]
    effort: Mapping[str, tuple[float, float]]


def _boxes(*intervals: tuple[float, float]) -> Mapping[str, tuple[float, float]]:
    return MappingProxyType(dict(zip(EPISTEMIC, intervals, strict=True)))


def _bounds(*intervals: tuple[float, float]) -> Mapping[str, tuple[float, float]]:
    return MappingProxyType(dict(zip(OUTPUTS[-len(intervals) :], intervals, strict=True)))


_UNKNOWN = float("nan")

PUBLISHED: Mapping[str, PublishedEntry] = MappingProxyType(
    {
        "Wang et al.": PublishedEntry(
            source="ESREL SRA-E 2025, doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, Tables 2 to 4",
            x_e_intervals=_boxes((0.26, 0.41), (0.5, 0.6), (0.0, 0.5)),
            x_e_best=(0.323, 0.571, 0.223),
            prediction=MappingProxyType(
                {
                    0.999: _bounds(*[(0.0, 3.35)] * 3, (0.0, 1841.96), (0.0, 872.46), (0.0, 760.01)),
                    0.95: _bounds(*[(0.0, 3.35)] * 3, (9.61, 722.01), (4.51, 341.41), (3.93, 296.82)),
                }
            ),
            prediction_reading=MappingProxyType({0.999: "time flattened", 0.95: "time flattened"}),
            designs=MappingProxyType(
                {
                    "performance": Design((0.683, 0.377, 0.692)),
                    "reliability": Design((0.695, 0.381, 0.629)),
                    "epsilon 1e-3": Design((0.685, 0.378, 0.674)),
                    "epsilon 1e-4": Design((0.686, 0.374, 0.681)),
                }
            ),
            effort=MappingProxyType(
                {
                    "simulations to train on, step 1": (30_000, 30_000),
                    "simulations to train on, step 2": (10_000, 10_000),
                    "R2 of the surrogate": (0.91, 0.91),
                }
            ),
        ),
        "Roy Sarkar et al.": PublishedEntry(
            source="ESREL SRA-E 2025, paper P7698 (gradient boosting and differential evolution)",
            x_e_intervals=_boxes((0.322, 0.323), (0.588, 0.592), (0.5258, 0.5659)),
            x_e_best=None,
            prediction=MappingProxyType(
                {
                    0.999: _bounds((_UNKNOWN, 1914.0), (_UNKNOWN, 934.0), (_UNKNOWN, 806.0)),
                    0.95: _bounds((_UNKNOWN, 1311.0), (_UNKNOWN, 639.0), (_UNKNOWN, 493.0)),
                }
            ),
            prediction_reading=MappingProxyType({0.999: "per trajectory", 0.95: "per trajectory"}),
            designs=MappingProxyType(
                {
                    "performance": Design((0.1285, 0.4006, 0.6076), j=7.757),
                    "reliability": Design((0.3735, 0.2502, 0.5868), pof=0.0),
                    "epsilon 1e-3": Design((0.1321, 0.3360, 0.6124), j=7.729, pof=0.0),
                }
            ),
            effort=MappingProxyType(
                {
                    "simulations to calibrate on, each control point": (1_000_000, 1_000_000),
                    "candidate designs, each design problem": (849, 1031),
                    "simulations, each candidate design": (1000, 1000),
                    "seconds, each simulation": (0.2, 0.2),
                    "hours, each design problem": (58, 72),
                }
            ),
        ),
    }
)
"""Published results on the challenge, by team [2]_ [3]_.

:meta hide-value:
"""
