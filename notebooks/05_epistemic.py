# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Epistemic updating
#
# *Which values of the three epistemic inputs do the hours allow?* In the paper's second step {cite:p}`wang2025` every control
# point gets a flow of its own, trained with $X_a$ drawn from the first step's $f_a$; draws for its hundred hours are pooled,
# three points are chosen, and intervals are read off. The chapter does so with rules in place of choices by hand, asks of each flow
# whether it can be believed, and hands on $f_a$ and $E$ together as the uncertainty model UM1.

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0
epistemic_points = (2, 7, 9)
validation_hours = 300
validation_draws = 200
epistemic_runs = 1000
epistemic_epochs = 7
more_epistemic_runs = 0
more_epistemic_epochs = 0

# %% tags=["hide-input"]
from dataclasses import replace

import numpy as np
import xarray as xr
from flowcal.challenge import EPISTEMIC, PUBLISHED, TABLE_1
from flowcal.infer.checks import (
    coverage,
    predict_hours,
    predictive_levels,
)
from flowcal.infer.models import (
    BoundedKernelDensity,
    EpistemicBox,
    PooledDraws,
    UncertaintyModel,
)
from flowcal.infer.um1 import (
    TRAINING,
    UM1Settings,
    highest_density_box,
    infer_um1,
    point_draws,
    score_point,
    update_points,
)
from flowcal.report import figures
from flowcal.report.tables import (
    interval,
    listed,
    markdown_table,
    with_error,
    yes_or_no,
)
from flowcal.report.truth import score_box, score_set, true_uncertainty_model
from flowcal.study import Study
from IPython.display import Markdown, display
from myst_nb import glue
from scipy.stats import binom

study = Study(
    "epistemic", profile, simulator, observations, scheduler, allowed_share
)
box = study.box
observed = study.read("observations", "observed")
f_a = PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed"))

# %% [markdown]
# ## A flow for each control point
#
# The flows are step 1's but for two things: they infer the three $X_e$, and as each belongs to one control point there is none
# to read. Training data has $X_a$ from the 10,000 draws of step 1, $X_c$ as observed, and everything else as it was: $X_e$
# uniform, the seed fixed. "10,000 training data instances" for ten control points make 1,000 for each, as we read it; the
# other reading, 10,000 for each, follows below. A hundred draws for each of a point's hundred hours are pooled.

# %%
seen = list(dict.fromkeys(map(tuple, observed.x_c.values.tolist())))
points = dict(enumerate(seen, 1))
if seen == list(TABLE_1):  # else control points of your own, all of them
    points = {number: points[number] for number in epistemic_points}


def update(name, numbers, runs, epochs, seeds="fixed", f_a=f_a):
    """Step 2 at control points: draws for their hours, and trials of each flow with the fixed and with fresh seeds."""
    return study.keep(
        f"updates_{name}",
        update_points,
        observed=observed,
        f_a=f_a,
        settings=UM1Settings(
            runs=runs,
            training=replace(TRAINING, epochs=epochs),
            trial_hours=validation_hours,
            trial_draws=validation_draws,
            seeds=seeds,
            draws=100,
        ),
        numbers=list(numbers),
        trainer=study.trainer,
        **box,
    )


def trials(updates, number, seeds):
    """The trials of a control point's flow."""
    return updates.sel(point=number, seeds=seeds).dropna("sample")


published = update("published", points, epistemic_runs, epistemic_epochs)
print(f"{len(published.point)} control points")
study.claim(
    "each control point's hours give 10,000 draws",
    all(len(point_draws(published, [number])) == 10_000 for number in points),
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.learning_curves(
        {
            f"control point {number}": published.sel(point=number).dropna(
                "epoch"
            )
            for number in points
        }
    ),
    caption="Learning curves of step 2. The uniform prior has a loss of 0.",
    alt="A panel for each control point with training and held-out loss against epoch.",
)

# %% [markdown]
# ## Can these posteriors be believed?
#
# Each flow is tried on hours whose $X_e$ is known: of the kind it was trained on, with the fixed seed, and with seeds of
# their own, as real hours have (but still with $X_a$ as step 1 infers it). The yardstick is the mean log density of the true $X_e$; the prior, which knows nothing, has
# 0, and whoever has less than 0 would have done better to say nothing.

# %% tags=["hide-input"]


def scores(updates, seeds):
    """Mean log density of the true X_e [nats] at all control points, and its standard errors."""
    numbers = updates.point.values
    return np.array(
        [score_point(updates, number, seeds) for number in numbers]
    ).T


# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.scores_by_point(
        {
            "hours with the fixed seed": scores(published, "fixed"),
            "hours with seeds of their own": scores(published, "fresh"),
        },
        list(points),
    ),
    caption="What each control point's flow is worth on hours it was not trained on, with two standard errors. Below the dashed "
    "line it is worth less than the prior.",
    alt="Two series of dots with error bars over control points, and a dashed line at zero.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
trial_hours = {
    "hours with the fixed seed": "fixed",
    "hours with seeds of their own": "fresh",
}


def calibration_of(updates, kind):
    """Calibration of several flows on one kind of hours, as a figure."""
    return figures.present(
        figures.calibration(
            {
                f"control point {number}": trials(
                    updates, number, trial_hours[kind]
                )
                for number in updates.point.values
            },
            np.random.default_rng(1),
        ),
        caption=f"Calibration of each flow on {kind}, read as in the previous chapter.",
        alt="A panel for each control point with curves of excess share against level and a grey band about zero.",
    )


calibration_of(published, "hours with the fixed seed")

# %% tags=["hide-input", "nbval-ignore-output"]
calibration_of(published, "hours with seeds of their own")

# %%
fixed_score, fresh_score = (
    scores(published, "fixed"),
    scores(published, "fresh"),
)
study.claim(
    "with the seed it was trained on, no flow is worth less than the prior by more than 0.1 nats",
    np.all(fixed_score[0] > -0.1),
)

# %% tags=["nbval-ignore-output", "hide-input"]
idle = [
    number
    for number, value in zip(points, fixed_score[0], strict=True)
    if value < 0.1
]
outside = {
    number: coverage(trials(published, number, "fresh").credibility, 0.9) - 0.9
    for number in points
}
glue("idle", ", ".join(map(str, idle)) or "none", display=False)
glue("largest_error", f"{max(map(abs, outside.values())):.2f}", display=False)

# %% [markdown]
# Control points whose flow has learned next to nothing from its 1,000 simulations, and stays within a tenth of a nat of the prior:
# {glue:text}`idle`. On hours with seeds of their own, the credibility at which the truth is met should
# lie between 5 and 95 % in nine hours of ten; the share is off by up to {glue:text}`largest_error`.

# %% [markdown]
# ## Three points, three intervals, a best guess
#
# The paper shows "three groups of results with good performance (the predictions are in good agreement with the true value in
# the validation)", points 2, 7 and 9, and determines the intervals "manually by balancing". Our rules:
#
# 1. Validation means held-out simulations of the training's own kind. The three points with the largest mean log density of
#    the true $X_e$ there are taken.
# 2. Each interval is the shortest that holds 90 % of the three points' pooled draws of that input; the box of the three is $E$.
# 3. The best guess is the joint mode of the draws in $E$: of a thousand picked at random, the one at which their kernel
#    density is largest. So "the most probable value is in the interval", as the paper has it.

# %%
PUBLISHED_POINTS = {2, 7, 9}
SHARE = 0.9
um_1 = study.keep("um_1", infer_um1, updates=published, share=SHARE)
best = set(um_1["points"])
pooled = point_draws(published, sorted(best))
e = EpistemicBox(um_1["low"], um_1["high"])
verdict = score_set(e)
low, high = e.bounding_box
study.claim(
    f"each interval of E holds {100 * SHARE:.0f} % of the pooled draws",
    np.allclose(
        ((low <= pooled) & (pooled <= high)).mean(axis=0), SHARE, atol=1e-3
    ),
)

# %% tags=["hide-input", "nbval-ignore-output"]
grid = np.linspace(0, 1, 201)


def marginals(draws):
    """Marginal densities on the grid, (3, 201)."""
    return np.exp(
        [
            BoundedKernelDensity(column[:, None]).log_prob(grid[:, None])
            for column in draws.T
        ]
    )


truth = true_uncertainty_model().e.bounding_box[0]
team = PUBLISHED["Wang et al."]
figures.present(
    figures.marginal_densities(
        {
            f"control point {number}": marginals(
                point_draws(published, [number])
            )
            for number in sorted((PUBLISHED_POINTS & set(points)) | best)
        },
        grid,
        EPISTEMIC,
        spans={
            "E, by rule": np.transpose(e.bounding_box),
            "E, Table 2 of the paper": list(team.x_e_intervals.values()),
        },
        marks={"truth": truth},
    ),
    caption="Pooled posterior draws of X_e at the paper's three points, as in its Figure 6, and at those that our rule takes; "
    "below them E by our rule and as published, and the truth.",
    alt="Three panels of densities over 0 to 1, one an epistemic input, with bars for the intervals and a diamond for the truth.",
)

# %% tags=["nbval-ignore-output", "hide-input"]
Markdown(
    markdown_table(
        [
            "Table 2",
            "published",
            "best guess",
            "UM1 here",
            "best guess",
            "truth",
        ],
        [
            (
                f"$X_{{e{number + 1}}}$",
                interval(*team.x_e_intervals[name], ".2f"),
                team.x_e_best[number],
                interval(um_1["low"][number], um_1["high"][number], ".2f"),
                f"{um_1['best_guess'][number]:.3f}",
                f"{truth[number]:.3f}",
            )
            for number, name in enumerate(EPISTEMIC)
        ]
        + [
            (
                "volume",
                f"{score_box(team)['volume']:.4f}",
                "",
                f"{e.volume:.4f}",
                "",
                "0",
            ),
            (
                "holds $X_e^*$",
                yes_or_no(score_box(team)["contains"]),
                "",
                yes_or_no(verdict["contains"]),
                "",
                "",
            ),
        ],
    )
)

# %% [markdown]
# A share of 90 % is a choice. The next figure has all of them: the smaller the box, the sooner it loses the truth.

# %% tags=["hide-input", "nbval-ignore-output"]
levels = np.round(np.arange(0.1, 1.0, 0.1), 1)
by_level = [score_set(highest_density_box(pooled, level)) for level in levels]
figures.present(
    figures.set_by_level(
        levels,
        [row["volume"] for row in by_level],
        [row["contains"] for row in by_level],
        score_box(team)["volume"],
    ),
    caption="Volume of E against the share of the pooled draws that each of its intervals holds; filled where E holds the truth. "
    "The dashed line is the volume of the published box, which holds it.",
    alt="A curve of volume on a logarithmic axis rising with the share from 0.1 to 0.9, with filled dots where the box holds the "
    "truth and open ones where it does not.",
)

# %% [markdown]
# ## The other reading: 10,000 simulations for each point
#
# With ten times the simulations a flow can learn more, of $X_e$ and of the fixed seed alike. Errors in the table are two standard
# errors.

# %% tags=["hide-input"]
published_points = sorted(PUBLISHED_POINTS & set(points))
if more_epistemic_runs and published_points:
    more = update(
        "more",
        published_points,
        more_epistemic_runs,
        more_epistemic_epochs,
    )
else:
    more = None
study.claim(
    "with 10,000 simulations a point the flows know more of hours with the fixed seed",
    more is not None
    and all(
        score_point(more, number, "fixed")[0]
        > score_point(published, number, "fixed")[0]
        for number in published_points
    ),
    at="full",
)

# %% tags=["nbval-ignore-output", "hide-input"]
readings = {
    f"{epistemic_runs:,}": published,
    f"{more_epistemic_runs:,}": more,
}
Markdown(
    markdown_table(
        [
            "simulations a point",
            "control point",
            "score, fixed seed [nats]",
            "score, own seeds [nats]",
            "coverage of 90 % intervals, own seeds",
        ],
        [
            (
                reading,
                number,
                *(
                    with_error(
                        *score_point(updates, number, seeds), "+.2f", ".2f"
                    )
                    for seeds in ("fixed", "fresh")
                ),
                listed(
                    coverage(trials(updates, number, "fresh")["rank"], 0.9),
                    ".2f",
                ),
            )
            for reading, updates in readings.items()
            if updates is not None
            for number in published_points
        ],
    )
)

# %% tags=["hide-input", "nbval-ignore-output"]
if more is not None:
    display(calibration_of(more, "hours with seeds of their own"))
else:
    print("The other reading is left to the full profile.")

# %% [markdown]
# ## What the first step costs the second
#
# How one load compares with another does not depend on the seed (see *Sensitivity*), so that fixing it need not harm step 2. But
# step 2 meets only the values of $X_a$ that step 1 believes in, and those may not be the observed hours'. So here are the three
# points of the paper once more, with $X_a$ from the $f_a$ of fresh seeds and a seed for every simulation, and all else as
# published. The table shows how much of the spread that explains.

# %% tags=["hide-input"]
if more_epistemic_runs and published_points:
    mended = update(
        "mended",
        published_points,
        epistemic_runs,
        epistemic_epochs,
        seeds="fresh",
        f_a=PooledDraws.from_dataset(study.read("aleatory", "f_a_fresh")),
    )
else:
    mended = None
boxes = {
    "as published, points of the rule": e,
    "as published, points 2, 7 and 9": highest_density_box(
        point_draws(published, published_points or sorted(best)), SHARE
    ),
}
for label, updates in (
    ("10,000 simulations a point", more),
    ("fresh seeds in both steps", mended),
):
    if updates is not None:
        draws = point_draws(updates, published_points)
        boxes[f"{label}, points 2, 7 and 9"] = highest_density_box(draws, SHARE)
study.claim(
    "fresh seeds in both steps leave more than half of the volume of E",
    mended is not None
    and boxes["fresh seeds in both steps, points 2, 7 and 9"].volume
    > 0.5 * boxes["as published, points 2, 7 and 9"].volume,
    at="full",
)

# %% tags=["nbval-ignore-output", "hide-input"]
Markdown(
    markdown_table(
        [
            f"E of {100 * SHARE:.0f} % intervals",
            *(f"$X_{{e{number}}}$" for number in (1, 2, 3)),
            "volume",
            "holds $X_e^*$",
        ],
        [
            (
                label,
                *(interval(*ends, ".2f") for ends in chosen.bounding_box.T),
                f"{chosen.volume:.4f}",
                yes_or_no(score_set(chosen)["contains"]),
            )
            for label, chosen in boxes.items()
        ],
    )
)

# %% [markdown]
# ## Does UM1 predict what was observed?
#
# The last question that can be asked without the truth: hours predicted by UM1, with $X_a$ from $f_a$ and $X_e$ from $E$,
# against those observed at the same control point. If UM1 were right, the level of an observed hour among the predicted ones
# would be uniform, but for this: the same hours made $f_a$, so a flat picture proves little, and only a bent one proves something.

# %% tags=["hide-input", "nbval-ignore-output"]
model = UncertaintyModel(f_a, e)
rng = np.random.default_rng(2)
compared = xr.concat(
    [
        predictive_levels(
            observed.isel(
                sample=(observed.x_c == list(point)).all("control").values
            ),
            predict_hours(model, x_c=point, hours=2000, random_seed=3, **box),
            rng,
        )
        for point in points.values()
    ],
    "sample",
)
figures.present(
    figures.predictive_levels(compared),
    caption="Where the mean and the peak of each output of the observed hours lie among the hours that UM1 predicts. The grey band "
    "holds 95 % of what chance allows a bar.",
    alt="Twelve histograms of levels between 0 and 1, by output and by mean or peak, with a grey band.",
)

# %% tags=["nbval-ignore-output", "hide-input"]
bins = 10
expected = binom.ppf([0.025, 0.975], compared.sizes["sample"], 1 / bins)
bars = np.apply_along_axis(
    lambda levels: np.histogram(levels, bins, (0, 1))[0],
    0,
    compared.transpose("sample", ...).values,
)
beyond = np.mean((bars < expected[0]) | (bars > expected[1]))
glue("beyond", f"{beyond:.0%}", display=False)

# %% [markdown]
# Where 5 % of the bars would leave the band by chance, {glue:text}`beyond` do. Observed hours do not look like those that UM1
# predicts.

# %% tags=["nbval-ignore-output", "hide-input"]
minutes = sum(
    updates.seconds.sum().item()
    for updates in (published, more, mended)
    if updates is not None
)
glue("points", len(points), display=False)
glue("best_points", ", ".join(map(str, sorted(best))), display=False)
glue(
    "same_points",
    "the same as the paper's"
    if best == PUBLISHED_POINTS
    else "where the paper took 2, 7 and 9",
    display=False,
)
glue("volume", f"{e.volume:.3f}", display=False)
glue(
    "published_volume",
    f"{score_box(team)['volume']:.4f}",
    display=False,
)
glue("holds", "holds" if verdict["contains"] else "misses", display=False)
last_volume = list(boxes.values())[-1].volume
three_volume = boxes["as published, points 2, 7 and 9"].volume
glue("three_volume", f"{three_volume:.4f}", display=False)
glue(
    "mended_volume",
    f"{last_volume:.4f}"
    if mended is not None
    else "(not computed at this profile)",
    display=False,
)
glue(
    "best_score",
    f"{fixed_score[0].min():+.2f} to {fixed_score[0].max():+.2f}",
    display=False,
)
glue(
    "fresh_score",
    f"{fresh_score[0].min():+.2f} to {fresh_score[0].max():+.2f}",
    display=False,
)
glue("minutes", f"{minutes / 60:.1f}", display=False)

# %% tags=["hide-input"]
study.number("volume of E", e.volume, within=0.2)
study.number("volume of E at points 2, 7 and 9", three_volume, within=0.2)
study.number(
    "volume of the published E", score_box(team)["volume"], within=1e-4
)
study.number(
    "largest gain over the prior, fixed seed",
    np.exp(fixed_score[0].max()),
    within=0.9,
)
study.number(
    "smallest gain over the prior, fresh seeds",
    np.exp(fresh_score[0].min()),
    within=0.1,
)
study.number("share of bars beyond the band", beyond, within=0.2)

# %% [markdown]
# ## In numbers
#
# {glue:text}`points` flows for the control points, and their variants, were trained in {glue:text}`minutes` minutes. On simulated
# hours they are worth {glue:text}`best_score` nats over the prior with the seed that they know and {glue:text}`fresh_score` with
# others. The rule takes control points {glue:text}`best_points`, {glue:text}`same_points`. The box of their 90 % intervals has a
# volume of {glue:text}`volume` and {glue:text}`holds` the truth; the published one, narrowed by hand, has
# {glue:text}`published_volume` and holds it. At points 2, 7 and 9 the volume is {glue:text}`three_volume`, and with fresh seeds
# in both steps {glue:text}`mended_volume`.
#
# Even so every posterior starts from the prior again and sees a single hour, and pooling a hundred of them blurs what they share.
# The hours share one $X_e$.
