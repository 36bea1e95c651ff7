"""The study's figures: one function each, from labelled data to a plotly figure."""

from flowcal.report.figures.decide import (
    design_front,
    design_landscape,
    emulated_power,
    interval_bounds,
    noise_survival,
    surrogate_hour,
)
from flowcal.report.figures.infer import (
    calibration,
    distance_by_hours,
    hour_posteriors,
    joint_densities,
    learning_curves,
    marginal_densities,
    predictive_levels,
    scores_by_point,
    set_by_level,
)
from flowcal.report.figures.scorecard import marked_values
from flowcal.report.figures.shared import (
    closing_in,
    contrasts_by_point,
    epistemic_pairs,
    exceedance,
    replicated_designs,
    replicated_tails,
    responses_by_lag,
)
from flowcal.report.figures.simulate import (
    autocorrelation,
    control_points,
    hour,
    observed_distributions,
    seeds,
    sobol_bars,
    sweep_atlas,
    turning_points,
    two_systems,
)
from flowcal.report.figures.style import present

__all__ = [
    "autocorrelation",
    "calibration",
    "closing_in",
    "contrasts_by_point",
    "control_points",
    "design_front",
    "design_landscape",
    "distance_by_hours",
    "emulated_power",
    "epistemic_pairs",
    "exceedance",
    "hour",
    "hour_posteriors",
    "interval_bounds",
    "joint_densities",
    "learning_curves",
    "marginal_densities",
    "marked_values",
    "noise_survival",
    "observed_distributions",
    "predictive_levels",
    "present",
    "replicated_designs",
    "replicated_tails",
    "responses_by_lag",
    "scores_by_point",
    "seeds",
    "set_by_level",
    "sobol_bars",
    "surrogate_hour",
    "sweep_atlas",
    "turning_points",
    "two_systems",
]
