# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Sensitivity
#
# *Which inputs move which outputs, and how?* The paper varies one input at a time and looks {cite:p}`wang2025`. We repeat
# its sweeps, test each sentence it draws from them, and then ask for more than one line through the input space:
# Sobol' indices of the quantities that the designs are judged by, with the random seed as an input of its own.

# %% tags=["parameters", "remove-input"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None

# %% tags=["hide-input"]
import numpy as np
from flowcal.challenge import ALEATORY, CONTROL, EPISTEMIC, LOADS, POWERS
from flowcal.report import figures
from flowcal.simulate.observation_design import turning_point
from flowcal.simulate.sensitivity import seed_sweep, sobol, sweep_inputs
from flowcal.study import Study
from myst_nb import glue

study = Study("sensitivity", profile, simulator, observations, scheduler)
box = {"simulator": study.simulator, "runner": study.runner}

# %% [markdown]
# ## One input at a time
#
# All inputs rest at the paper's base point, $(0.1, 0.2 \mid 0.3, 0.4, 0.5 \mid 0.533, 0.666, 0.5)$ with seed 10, and one
# moves from 0 to 1 in steps of 0.1; then the seed runs from 1 to 10. This is the paper's Figure 4.

# %%
sweeps = study.keep("sweeps", sweep_inputs, **box)
seeds = study.keep("seeds", seed_sweep, **box)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.sweep_atlas(sweeps, ALEATORY, common_scale=False),
    caption="Aleatory inputs. Each grey line is a minute of the hour, the blue line their mean. X_a1 moves everything; "
    "X_a2 fans the minutes out.",
    alt="Six rows of outputs by two columns of aleatory inputs. Along X_a1 the powers saturate at 3.35 and the loads "
    "grow as a square; along X_a2 the minutes spread apart.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.sweep_atlas(sweeps, EPISTEMIC),
    caption="Epistemic inputs. Smaller effects than the aleatory ones at this base point, yet not small: X_e1 moves y4, "
    "X_e2 moves y5 and y6.",
    alt="Six rows of outputs by three columns of epistemic inputs. Most lines are flat; y4 falls along X_e1, y5 and y6 "
    "change along X_e1 and X_e2.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.sweep_atlas(sweeps, CONTROL),
    caption="Control inputs. Loads fall and rise again: X_c1 turns near 0.4, X_c2 near 0.6. X_c3 trades the second unit "
    "against the third.",
    alt="Six rows of outputs by three columns of control inputs. Loads have a valley near 0.4 in X_c1 and near 0.6 in "
    "X_c2; along X_c3 y5 rises while y6 falls.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.seeds(seeds),
    caption="Ten seeds at the base point: the noise is as large as the effects of the epistemic inputs.",
    alt="Six panels of outputs over sixty minutes, ten irregular lines each without any order by seed.",
)

# %% [markdown]
# ## What the paper found, checked
#
# Section 3.1 of the paper, sentence by sentence. Most of it holds on our copy of the black box; where it does not, the
# check asserts that.
#
# **Aleatory inputs.** "All six output features are affected strongly" by $X_{a1}$, which takes $y_1$ to $y_3$ "from 0 to
# around 3.35", saturated from "roughly 0.3", and the loads "from 0 to 4000, 1750, and 3400".

# %%
a1 = sweeps.y.sel(input="X_a1")
end = a1.sel(level=1)
study.claim(
    "y1 to y3 start at 0 and end at 3.35",
    np.allclose(a1.sel(level=0).values[:, :3], 0)
    & np.allclose(end.values[:, :3], 3.35),
)
study.claim(
    "y1 to y3 are saturated in every minute from X_a1 = 0.3 on",
    bool((a1.sel(level=slice(0.3, 1), output=list(POWERS)) > 3.349).all()),
)
for name, published in (("y4", 4000), ("y5", 1750)):
    mean = end.sel(output=name).mean().item()
    study.claim(
        f"{name} ends near {published}, within 5 % on average over the hour",
        abs(mean / published - 1) < 0.05,
    )
study.claim(
    "the paper's 3400 for y6 cannot be: its largest minute stays below 1700",
    end.sel(output="y6").max().item() < 1700,
)

# %% [markdown]
# Along $X_{a2}$ the powers "on all time steps increase" and the loads "on some time steps decrease".

# %%
a2 = sweeps.y.sel(input="X_a2")
rises = (a2.diff("level") >= -1e-9).all("level")
falls = a2.sel(level=1) < a2.sel(level=0)
study.claim(
    "along X_a2 no power ever decreases, in any minute",
    bool(rises.sel(output=list(POWERS)).all()),
)
study.claim(
    "along X_a2 each load ends lower in some minutes",
    bool(falls.sel(output=list(LOADS)).any("time").all()),
)
study.claim(
    "along X_a2 each load ends higher in most minutes",
    bool((falls.sel(output=list(LOADS)).mean("time") < 0.5).all()),
)

# %% [markdown]
# **Epistemic inputs.** "All three epistemic parameters have almost no effect on" $y_1$ and $y_4$; on the others $X_{e1}$
# and $X_{e2}$ have "little effect" and $X_{e3}$ a "negligible" one. As a yardstick we take the range over the sweep of
# the hour's mean, relative to its middle.

# %%
mean = sweeps.y.mean("time")
effect = (mean.max("level") - mean.min("level")) / mean.mean("level")


def largest(inputs, outputs):
    """Largest relative effect of any of the inputs on any of the outputs."""
    return effect.sel(input=list(inputs), output=list(outputs)).max().item()


study.claim(
    "X_e2 and X_e3 do not touch y1 and y4 at all",
    largest(["X_e2", "X_e3"], ["y1", "y4"]) < 1e-12,
)
study.claim(
    "X_e1 does move y4, by about a tenth: the paper's 'almost no effect' does not hold",
    0.08 < largest(["X_e1"], ["y4"]) < 0.12,
)
study.claim(
    "X_e1 and X_e2 move y5 and y6 by up to a quarter",
    0.2 < largest(["X_e1", "X_e2"], ["y5", "y6"]) < 0.3,
)
study.claim(
    "X_e3 moves y5 and y6 by less than a twentieth",
    largest(["X_e3"], ["y5", "y6"]) < 0.05,
)

# %% [markdown]
# That $X_{e1}$ leaves a trace in $y_4$, which no other epistemic input reaches, is a gift: it can be read off apart from
# the others. At this base point the powers of the second and third unit are nearly zero, and their relative ranges
# say little; the indices below look at the whole input space.
#
# **Control inputs.** $X_{c1}$ raises $y_1$ and then lowers it, and does the opposite to the other five, turning at about
# 0.4; $X_{c2}$ does likewise to units two and three at about 0.6; $X_{c3}$ acts "monotonically", raising $y_2, y_5$ and
# lowering $y_3, y_6$. Neither $X_{c2}$ nor $X_{c3}$ reaches $y_1$ and $y_4$.

# %%
turns = {
    control: turning_point(sweeps.level, mean.sel(input=control).values)
    for control in CONTROL
}
c1, c3 = mean.sel(input="X_c1"), mean.sel(input="X_c3")
study.claim("X_c1 turns at 0.40", f"{turns['X_c1']:.2f}" == "0.40")
study.claim("X_c2 turns at 0.60", f"{turns['X_c2']:.2f}" == "0.60")
study.claim("X_c3 does not turn", turns["X_c3"] is None)
study.claim(
    "y1 is largest, the other five smallest, at X_c1 = 0.4",
    c1.idxmax("level").values[0] == 0.4
    and set(c1.idxmin("level").values[1:]) == {0.4},
)
slope = c3.diff("level")
study.claim(
    "X_c3 raises y5 and lowers y6 all the way",
    bool(
        (slope.sel(output="y5") > 0).all()
        and (slope.sel(output="y6") < 0).all()
    ),
)
study.claim(
    "X_c3 never lowers y2 and never raises y3, and moves both",
    bool(
        (slope.sel(output="y2") >= 0).all()
        and (slope.sel(output="y3") <= 0).all()
        and largest(["X_c3"], ["y2"]) > 1
    ),
)
study.claim(
    "X_c2 and X_c3 do not touch y1 and y4",
    largest(["X_c2", "X_c3"], ["y1", "y4"]) < 1e-12,
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.turning_points(sweeps, turns),
    caption="Mean of each output over the hour, scaled to its own range, along the control inputs; loads drawn full, powers "
    "dotted. Dashed: the turning point, the median over the outputs that turn.",
    alt="Three panels. Along X_c1 curves turn near 0.40, along X_c2 near 0.60, along X_c3 all are monotone.",
)

# %% [markdown]
# **Seed.** "No obvious regularity": neighbouring seeds are as unlike as distant ones.

# %%
load = seeds.y.sel(output="y4").values
similarity = np.corrcoef(load)
next_door = np.diagonal(similarity, 1).mean()
study.claim(
    "the hours of neighbouring seeds are uncorrelated, below 0.2 on average",
    abs(next_door) < 0.2,
)

# %% [markdown]
# ## Over the whole input space
#
# A sweep sees one line. Sobol' indices {cite:p}`saltelli2010` share out the variance of a quantity over the whole cube:
# the *first-order* index is an input's own part, the *total* index adds its part in interactions. We take the four
# quantities that Problem 2 is about, the hour's mean of $y_1 + y_2 + y_3$ and the peaks of $y_4, y_5, y_6$, let all eight
# inputs be uniform, and count the seed as a ninth.

# %%
indices = study.keep(
    "sobol",
    sobol,
    **box,
    base_samples=study.profile.sobol_base_samples,
    resamples=study.profile.bootstrap_resamples,
    random_seed=1,
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.sobol_bars(indices),
    caption="First-order and total Sobol' indices with 95 % bootstrap intervals. X_a1 rules everything; the epistemic inputs "
    "hardly show; the seed's share of the peaks is small but not nothing.",
    alt="Four bar charts over nine sources. X_a1 has by far the largest bar in each; X_c1 shows in the peak of y4, X_c2 and "
    "X_c3 in the peak of y5, the seed at about one percent.",
)

# %%
total = indices.total.sel(bound="estimate")
study.claim(
    "X_a1 carries most of the variance of every quantity",
    bool((total.sel(source="X_a1") > 0.6).all()),
)
study.claim(
    "no epistemic input carries more than 3 % of any",
    bool((total.sel(source=list(EPISTEMIC)) < 0.03).all()),
)
study.claim(
    "the seed carries less than 3 % of any",
    bool((total.sel(source="seed") < 0.03).all()),
)
study.claim(
    "only X_a1, X_a2, X_e1, X_c1 and the seed reach the peak of y4",
    set(total.source.values[total.sel(quantity="peak of y4") > 1e-12])
    == {"X_a1", "X_a2", "X_e1", "X_c1", "seed"},
)

# %% tags=["nbval-ignore-output", "hide-input"]
glue("runs", int(indices.attrs["runs"]), display=False)
glue(
    "power_a1",
    100 * total.sel(quantity="mean power", source="X_a1").item(),
    display=False,
)
glue(
    "epistemic",
    100 * total.sel(source=list(EPISTEMIC)).max().item(),
    display=False,
)
glue("seed_share", 100 * total.sel(source="seed").max().item(), display=False)
glue("turn_c1", turns["X_c1"] or float("nan"), display=False)
glue("turn_c2", turns["X_c2"] or float("nan"), display=False)

# %% [markdown]
# ## In numbers
#
# From {glue:text}`runs` runs: $X_{a1}$ alone accounts for {glue:text}`power_a1:.0f` % of the variance of the mean power;
# no epistemic input for more than {glue:text}`epistemic:.1f` % of anything; the seed for at most
# {glue:text}`seed_share:.1f` %. Of the variance, that is. Inference lives on something else: what an input changes in the
# *relations* between channels, where $X_{a1}$ cancels, and the worst hours are made in the corner that variance
# hardly sees. The control inputs turn at {glue:text}`turn_c1:.3f` and {glue:text}`turn_c2:.3f`, which the next chapter
# uses to choose where to look.
