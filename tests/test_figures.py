"""Figures: labelled, described, and drawn by the book's own scripts."""

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from flowcal.challenge import CONTROL, EPISTEMIC, LOADS, TABLE_1
from flowcal.infer.checks import predictive_levels
from flowcal.report import figures
from flowcal.report.plotly_renderer import figure_html
from flowcal.simulate.observed import RealSystem
from flowcal.simulate.sensitivity import seed_sweep, sobol, sweep_inputs
from flowcal.simulate.windfarm import WindFarm


@pytest.fixture(scope="module")
def drawn():
    sweeps = sweep_inputs(WindFarm())
    indices = sobol(WindFarm(), base_samples=64, resamples=20, random_seed=1)
    hours = RealSystem().observe(TABLE_1[0])
    return {
        "hour": figures.hour(hours.y.values[0]),
        "sweep_atlas": figures.sweep_atlas(sweeps, EPISTEMIC),
        "seeds": figures.seeds(seed_sweep(WindFarm())),
        "turning_points": figures.turning_points(sweeps, dict.fromkeys(CONTROL, 0.4) | {"X_c3": None}),
        "sobol_bars": figures.sobol_bars(indices),
        "control_points": figures.control_points({"a": TABLE_1, "b": TABLE_1}),
        "observed_distributions": figures.observed_distributions(hours, ["1"] * 100),
        "two_systems": figures.two_systems({"a": hours, "b": hours}),
        "autocorrelation": figures.autocorrelation({"a": np.ones((11, 2)), "b": np.ones((11, 2))}),
        **inferred(),
    }


def inferred():
    """The figures of flows and of what follows from them."""
    rng = np.random.default_rng(1)
    grid, share = np.linspace(0, 1, 11), rng.random((50, 2))
    curve = {"training_loss": [2.0, 1.0], "held_out_loss": [2.1, 1.5]}
    tried = xr.Dataset(
        {"rank": (("sample", "parameter"), share), "credibility": ("sample", share[:, 0])}, {"parameter": ["a", "b"]}
    )
    hours = RealSystem().observe(TABLE_1[0])
    bounds = {0.95: dict.fromkeys(LOADS, (2.0, 1.0, 3.0)), 0.999: dict.fromkeys(LOADS, (4.0, 3.0, 5.0))}
    tail = {"probability": 1e-3, "log_error": 0.2, "interval": [5e-4, 3e-3]}
    return {
        "learning_curves": figures.learning_curves({"a": curve, "b": curve}),
        "calibration": figures.calibration(dict.fromkeys("abcd", tried), rng),
        "marginal_densities": figures.marginal_densities(
            {"a": rng.random((3, 11))}, grid, EPISTEMIC, spans={"E": [(0.1, 0.2)] * 3}, marks={"truth": [0.3] * 3}
        ),
        "joint_densities": figures.joint_densities(grid, {"a": rng.random((11, 11))}),
        "hour_posteriors": figures.hour_posteriors({"a": rng.random((9, 3, 2))}, rng.random((3, 2)), ["X_a1", "X_a2"]),
        "distance_by_hours": figures.distance_by_hours([1, 10], {"a": rng.random((2, 5))}),
        "spread_of_readings": figures.spread_of_readings(
            {"a": [0.1, 0.5], "b": [0.01]},
            {"a": [True, False], "b": [True]},
            "volume [–]",
            ("holds", "misses"),
            ("paper", 0.02),
        ),
        "predictive_levels": figures.predictive_levels(predictive_levels(hours, hours, rng)),
        "scores_by_point": figures.scores_by_point({"a": ([0.1, 0.2], [0.01, 0.01])}, [2, 7]),
        "contrasts_by_point": figures.contrasts_by_point([rng.random((5, 2))], [rng.random((9, 2))], ["a", "b"]),
        "volume_by_misfit": figures.volume_by_misfit({0.0: (1e-9, False), 0.01: (1e-3, True), 0.1: (0.2, True)}),
        "closing_in": figures.closing_in(rng.random((3, 3)), [1.0, 1e-5, 1e-15], {"a": 0.01, "b": 0.1}),
        "epistemic_pairs": figures.epistemic_pairs(
            rng.random((9, 3)), {"a": dict.fromkeys(EPISTEMIC, (0.1, 0.4))}, [0.2, 0.3, 0.4]
        ),
        "exceedance": figures.exceedance(grid, {"a": 1 - grid}, (0.5 - grid / 2, 1 - grid / 3), "X_a1"),
        "replicated_designs": figures.replicated_designs(
            [
                {
                    "number": 0,
                    "shape": "plain",
                    **{case: {"pof": 1e-5, "j": 6.0} for case in ("credible", "plain", "truth")},
                }
            ],
            epsilon=1e-4,
        ),
        "replicated_tails": figures.replicated_tails([{"number": 0, "shape": "plain", "tail": [tail, tail]}]),
        "interval_bounds": figures.interval_bounds({"a": bounds, "b": bounds}),
        "surrogate_hour": figures.surrogate_hour(hours.y.values[:5], hours.y.values[0]),
        "noise_survival": figures.noise_survival(share[:, 0], lambda z: np.clip(1 - z, 1e-3, 1)),
        "design_landscape": figures.design_landscape(
            grid, [0.2, 0.8], rng.random((2, 11, 11)), -rng.random((2, 11, 11)), {"a": (0.1, 0.2, 0.3)}
        ),
        "design_front": figures.design_front({"a": rng.random((5, 2))}, {"b": {"c": (0.1, 0.2)}}),
        "marked_values": figures.marked_values(
            {"a": {"first": (0.1, 0.05, 0.2), "second": (1e-5, 1e-6, 1e-4)}}, "share [–]", {"b": 0.9}, log=True
        ),
        "emulated_power": figures.emulated_power(grid, grid, rng.random(200)),
    }


NAMED_CATEGORIES = {  # inputs and sources name themselves
    ("sobol_bars", "xaxis"),
    ("interval_bounds", "yaxis"),
    ("marked_values", "yaxis"),
}


def test_every_figure_is_tried(drawn):
    assert set(drawn) == set(figures.__all__) - {"present"}


def axes(figure, kind):
    return [axis for name, axis in figure.to_dict()["layout"].items() if name.startswith(kind)]


@pytest.mark.parametrize("kind", ["xaxis", "yaxis"])
def test_axes_are_labelled(drawn, kind):
    """Each row by the vertical axis at its left, each column by the horizontal one at its foot."""
    for name, figure in drawn.items():
        rows, columns = figure._get_subplot_rows_columns()
        grid = [[figure.get_subplot(row, column) for column in columns] for row in rows]
        lines = grid if kind == "yaxis" else list(zip(*grid, strict=True))
        if (name, kind) not in NAMED_CATEGORIES:
            assert all(getattr(line[0 if kind == "yaxis" else -1], kind).title.text for line in lines), name


def test_axes_of_outputs_have_units(drawn):
    titles = {axis["title"]["text"] for axis in axes(drawn["sweep_atlas"], "yaxis") if "text" in axis["title"]}
    assert titles == {"y1 [MW]", "y2 [MW]", "y3 [MW]", "y4 [–]", "y5 [–]", "y6 [–]"}


def test_each_name_stands_once_in_the_legend(drawn):
    shown = [trace.name for trace in drawn["two_systems"].data if trace.showlegend]
    assert shown == ["a", "b"]


def test_html_carries_caption_and_text_alternative():
    figure = figures.present(go.Figure(go.Scatter(y=[1, 2])), caption="Rise & fall", alt='A "line"')
    text = figure_html(figure.to_dict())
    assert "<figcaption>Rise &amp; fall</figcaption>" in text
    assert 'aria-label="A &quot;line&quot;"' in text
    assert "http" not in text
    assert text == figure_html(figure.to_dict())  # the same page from the same figure
