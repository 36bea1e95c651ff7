# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Observations
#
# *The real system can be observed at ten control points. Which ten?* The paper has a rule for choosing them {cite:p}`wang2025`. We write it
# down as a procedure and compare the result with its Table 1. Then we observe the embedded real system for a hundred hours at each point
# of Table 1, and compare its hours with the organisers' own where their file is available.

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0

# %% tags=["hide-input"]
import numpy as np
from flowcal.challenge import (
    BASELINE,
    CONTROL,
    LOADS,
    POWERS,
    TABLE_1,
    THRESHOLDS,
)
from flowcal.report import figures
from flowcal.simulate.control_points import choose_levels, pair_levels
from flowcal.simulate.observed import (
    BudgetSpent,
    RealSystem,
    observe,
    organisers_file,
    read_organisers_file,
)
from flowcal.simulate.simulator import peaks
from flowcal.study import Study
from myst_nb import glue
from scipy.stats import ks_2samp, qmc

study = Study(
    "observations", profile, simulator, observations, scheduler, allowed_share
)
sweeps = study.read("sensitivity", "sweeps")

# %% [markdown]
# ## Choosing the control points
#
# Section 3.2 of the paper picks ten levels of each control input: for $X_{c1}$ and $X_{c2}$ "symmetrically of the
# inflection points", with an intensity "determined by the variation rate of the response", and for $X_{c3}$ evenly. A Latin hypercube
# {cite:p}`mckay1979` then combines them, so that each level is used once. As a procedure:
#
# 1. From the sweep of an input, take the mean over the hour of each output, scaled to its range. Its mean absolute slope is the
#    *variation rate*.
# 2. Where most outputs turn, mirror the rate at the turning point, and place levels in mirrored pairs at equal quantiles of it. Values
#    without a mirror image in $[0, 1]$ get single levels. Without a turning point, spread levels evenly.
# 3. Combine the levels by a Latin hypercube of low discrepancy.

# %%
responses = {
    control: sweeps.y.sel(input=control).mean("time").values
    for control in CONTROL
}
levels = [
    choose_levels(sweeps.level, responses[control], 10) for control in CONTROL
]
by_rule = pair_levels(levels, np.random.default_rng(1))
for control, rule, published in zip(
    CONTROL, levels, np.sort(TABLE_1, axis=0).T, strict=True
):
    for name, values in (("by the rule", rule), ("Table 1", published)):
        print(f"{control} {name:<12}", *(f"{value:5.3f}" for value in values))

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.control_points({"Table 1": TABLE_1, "by the rule": by_rule}),
    caption="Ten control points, for each pair of inputs: the paper's Table 1 (numbered) and one draw by the procedure above. "
    "Both cover the cube. The study uses Table 1.",
    alt="Three scatter plots of control inputs against each other with ten numbered dots and ten open diamonds, both "
    "spread evenly.",
)

# %% [markdown]
# The two differ most at the turning points. The outputs are flat there, so the procedure leaves a gap, but Table 1 has three levels close
# together. The next cell tests Table 1 against the paper's own rule.

# %%


def mirrored_pairs(values, turn):
    """How many pairs of levels are mirror images at the turning point."""
    offsets = np.round(np.asarray(values) - turn, 6)
    return sum(1 for offset in offsets if offset > 0 and -offset in offsets)


table = np.array(TABLE_1)
study.claim(
    "Table 1 uses each level once, as a Latin hypercube does",
    all(len(set(column)) == 10 for column in table.T),
)
study.claim(
    "Table 1 has four mirrored pairs about 0.4 in X_c1",
    mirrored_pairs(table[:, 0], 0.4) == 4,
)
study.claim(
    "but three about 0.6 in X_c2: its 0.275 and 0.95 are not mirror images",
    mirrored_pairs(table[:, 1], 0.6) == 3,
)


def spread(points):
    """Centred discrepancy of the pairing alone: of each level's rank, not of the level."""
    rank = np.argsort(np.argsort(points, axis=0), axis=0)
    return qmc.discrepancy((rank + 0.5) / len(points))


rng = np.random.default_rng(2)
random_pairings = np.array([spread(rng.random((10, 3))) for _ in range(2000)])
better = {
    name: np.mean(random_pairings > spread(points))
    for name, points in (("Table 1", table), ("rule", by_rule))
}
study.claim(
    "Table 1 pairs its levels more evenly than 9 in 10 random Latin hypercubes",
    better["Table 1"] > 0.9,
)
study.claim(
    "the rule's pairing is more even than Table 1's",
    spread(by_rule) < spread(table),
)

# %% [markdown]
# The published Table 1 stays the study's design, so that results can be compared.
#
# ## Ten control points
#
# Each control point gives a hundred hours. An eleventh control point is refused.

# %%
observed = study.keep("observed", observe, source=study.source)
points = np.unique(observed.x_c.values, axis=0)
print(f"{observed.sizes['sample']} hours at {len(points)} control points")

system = RealSystem()
for point in TABLE_1:
    system.observe(point)
try:
    system.observe(BASELINE)
    refused = False
except BudgetSpent as refusal:
    refused = True
    print(str(refusal).split(";")[0])
study.claim("an eleventh control point is refused", refused)

# %% tags=["hide-input", "nbval-ignore-output"]
number = {
    tuple(point): str(position) for position, point in enumerate(TABLE_1, 1)
}
labels = [
    number.get(tuple(point), str(tuple(np.round(point, 3))))
    for point in observed.x_c.values
]
figures.present(
    figures.observed_distributions(observed, labels),
    caption="Mean over the hour of each output, with a box for the hours of each control point. Some control points shift a box far "
    "(y2 at 1, y3 at 7). Mostly, hours of one point differ more than points, mainly because of X_a.",
    alt="Six panels of box plots over control points 1 to 10. Powers spread from 0 to 3.35 almost everywhere, with y2 low at "
    "point 1 and y3 low at point 7; loads are skewed with long upper tails.",
)

# %%
peak = peaks(observed).sel(output=list(THRESHOLDS))
failures = int((peak > list(THRESHOLDS.values())).any("output").sum())
study.claim(
    f"none of the {observed.sizes['sample']:,} observed hours exceeds a threshold",
    failures == 0,
)
upper = 3 / observed.sizes["sample"]
rated = (observed.y.sel(output="y1").mean("time") > 3.349).mean().item()
margin = (peak.max("sample") / list(THRESHOLDS.values())).max().item()

# %% tags=["nbval-ignore-output", "hide-input"]
glue("hours", f"{observed.sizes['sample']:,}", display=False)
glue("points", len(points), display=False)
glue(
    "at_a_point",
    f"{3 * len(points) / observed.sizes['sample']:.2f}",
    display=False,
)
glue("rated_share", f"{rated:.0%}", display=False)
glue("margin", f"{margin:.0%}", display=False)
glue("zero_bound", f"{upper:.3f}", display=False)

# %% tags=["hide-input"]
study.number("unevenness of Table 1", spread(table), within=1e-4)
study.number("unevenness of the rule", spread(by_rule), within=1e-4)
study.number("share at the upper limit of y1", rated, within=1e-4)
study.number("largest peak over its threshold", margin, within=1e-4)
for name in ("y1", "y4"):
    study.number(
        f"mean of {name}",
        observed.y.sel(output=name).mean().item(),
        within=1e-4,
    )

# %% [markdown]
# There is no failure in {glue:text}`hours` hours. By the rule of three, with 95 % confidence, the mean probability of failure over the
# {glue:text}`points` control points is below {glue:text}`zero_bound`, and that of each one below {glue:text}`at_a_point`. The largest peak
# reached {glue:text}`margin` of its threshold. In {glue:text}`rated_share` of the hours $y_1$ is at its upper limit. The powers of such an
# hour say little about $X_a$, so its loads have to.
#
# ## The organisers' real hours
#
# The organisers publish a hundred hours of their real system at the baseline control point. Where their file is available (`flowcal fetch`
# downloads it), we compare it with a hundred hours of the embedded system at the same point. The embedded truth was derived from that
# file, so agreement only shows that the copy is well made. It does not test any method. (These hours come from a second instance of the
# embedded system, beyond the ten control points. No method sees them.)

# %% tags=["nbval-ignore-output", "hide-input"]
at_hand = organisers_file()
embedded = RealSystem().observe(BASELINE)
if at_hand:
    systems = {
        "organisers' system": read_organisers_file(at_hand),
        "embedded system": embedded,
    }
else:
    systems = {"embedded system": embedded}
    print(
        "The organisers' file is not at hand; 'flowcal fetch' brings it. Below, the embedded system alone."
    )

# %% tags=["nbval-ignore-output", "hide-input"]
figures.present(
    figures.two_systems(systems),
    caption="Share of hours whose mean lies below a value, for a hundred hours at the baseline: "
    + " and ".join(systems)
    + ".",
    alt="Six panels of step curves rising from 0 to 1: powers gather at their upper limit of 3.35, loads have long upper tails.",
)

# %% tags=["hide-input"]


def autocorrelation(hours, output, lags=11):
    """Autocorrelation within the hour up to ten minutes, pooled over the hours after each one's mean is taken off."""
    series = hours.y.sel(output=output).values
    series = series - series.mean(axis=1, keepdims=True)
    return (
        np.array(
            [
                (series[:, lag:] * series[:, : 60 - lag]).sum()
                for lag in range(lags)
            ]
        )
        / (series**2).sum()
    )


def median_ratio(hours, upper, lower):
    """Median over all minutes of one load over another."""
    return float(
        (
            hours.y.sel(output=upper)
            / hours.y.sel(output=lower).where(lambda load: load > 0)
        ).median()
    )


# %% tags=["nbval-ignore-output", "hide-input"]
curves = {
    name: np.column_stack(
        [autocorrelation(hours, "y1"), autocorrelation(hours, "y4")]
    )
    for name, hours in systems.items()
}
figures.present(
    figures.autocorrelation(curves),
    caption="Autocorrelation within the hour of the first power and the first load. Power remembers ten minutes, load a few.",
    alt="Two panels of autocorrelation against lag from 0 to 10 minutes: y1 falls slowly, y4 drops at once and then falls.",
)

# %% tags=["nbval-ignore-output"]
if at_hand:
    real = systems["organisers' system"]
    for upper, lower in (("y5", "y4"), ("y6", "y4")):
        ratio = [
            median_ratio(hours, upper, lower) for hours in systems.values()
        ]
        study.claim(
            f"{upper}/{lower} agrees within 0.5 %: {ratio[0]:.4f} and {ratio[1]:.4f}",
            abs(ratio[1] / ratio[0] - 1) < 0.005,
        )
    for output in (*POWERS, *LOADS):
        test = ks_2samp(
            *(
                hours.y.sel(output=output).mean("time").values
                for hours in systems.values()
            )
        )
        study.claim(
            f"{output}: hourly means could be of one law (Kolmogorov-Smirnov p = {test.pvalue:.2f})",
            test.pvalue > 0.01,
        )

# %% [markdown]
# With the organisers' file, the ratios above differ in the third digit, because the organisers print their control point rounded: 0.533 means
# 40/75, and 0.666 means 50/75. At these values the embedded model agrees with the organisers' hours to six digits
# (`tests/test_windfarm.py`). A printed control point is uncertain, and inference has to allow for it.

# %%
ours = autocorrelation(embedded, "y4")
study.claim(
    "a minute's load still correlates with the next one's, by 0.4 to 0.7",
    0.4 < ours[1] < 0.7,
)
study.claim("and is all but forgotten ten minutes on", abs(ours[10]) < 0.15)

# %% [markdown]
# ## In numbers
#
# We observed {glue:text}`hours` hours at {glue:text}`points` control points. None is a failure, and {glue:text}`rated_share` of them are at the
# upper limit of $y_1$. Two questions follow: which distribution $f_a$ do these hours come from, and which $X_e$ do they share?
