# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # f_a from all hours
#
# *Which distribution of $X_a$ made the observed hours?* Every hour has an $X_a$ of its own and tells it with an error. This chapter takes
# the error out, gives $f_a$ a density, a tail and an uncertainty, shows what can be said of the tail without any family, and checks
# the result on the observed hours. $f_a$ and the $E$ of {doc}`06_shared` are the uncertainty model UM2.

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0
population_draws = 32
population_replicates = 10

# %% tags=["hide-input"]
import numpy as np
import xarray as xr
from flowcal.challenge import ALEATORY
from flowcal.infer.checks import (
    predict_hours,
    predictive_levels,
    probability_box,
    share_beyond_chance,
)
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.models import PooledDraws
from flowcal.infer.um2 import UM2, UM2Settings, add_f_a, infer_um2_f_a
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.infer.um2_epistemic import Rounds
from flowcal.report import figures
from flowcal.report.export import moments, tail_of
from flowcal.report.tables import interval, markdown_table
from flowcal.report.truth import (
    score_aleatory,
    true_exceedance,
    true_uncertainty_model,
)
from flowcal.study import Study
from IPython.display import Markdown
from myst_nb import glue
from scipy.stats import norm

study = Study(
    "population", profile, simulator, observations, scheduler, allowed_share
)
box = study.box
observed = study.read("observations", "observed")
estimator = AleatoryEstimator.from_weights(study.read("shared", "estimator"))

# %% [markdown]
# ## Taking the error of each hour out
#
# A toy first. Values $x_i$ come from a normal distribution, and each is observed as $y_i = x_i + \text{error}$. Pooled posterior samples
# have the spread of the values plus that of the errors, twice: once in $y_i$, and once in the posterior. Empirical Bayes
# {cite:p}`efron2016` asks instead which distribution makes *all observations* likely. For a normal distribution with mean $m$ and
# standard deviation $\tau$, and errors of standard deviation $\sigma$, an observation has the density
# $\mathcal N(y_i; m, \tau^2 + \sigma^2)$, so the likeliest $\tau^2$ is the variance of the observations less $\sigma^2$.

# %%
rng = np.random.default_rng(1)
tau, sigma = 0.05, 0.1
y = rng.normal(0.4, tau, 1000) + rng.normal(0, sigma, 1000)
samples = y + rng.normal(0, sigma, 1000)  # of each posterior under a flat prior
likeliest = np.sqrt(max(y.var() - sigma**2, 0))
axis = np.linspace(0, 1, 401)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.marginal_densities(
        {
            "empirical Bayes": norm.pdf(axis, y.mean(), likeliest)[None],
            "pooled posterior samples": norm.pdf(
                axis, samples.mean(), samples.std()
            )[None],
            "truth": norm.pdf(axis, 0.4, tau)[None],
        },
        axis,
        ["x"],
    ),
    caption="A thousand values of a toy, each observed with an error twice as large as their spread: pooled samples are three times too "
    "wide, empirical Bayes finds the truth.",
    alt="Three bell-shaped densities over 0 to 1. Two are narrow and nearly on top of each other, the pooled one is low and wide.",
)

# %% [markdown]
# ## The likelihood of a distribution
#
# For the hours of the study, the estimator of $X_a$ gives samples $x_{ik}$, $k = 1, \dots, K$, of the posterior of hour $i$ under a uniform
# prior. They represent the hour's likelihood, so a distribution $f$ of $X_a$ has the log likelihood
#
# $$
# \begin{aligned}
# \ell(f) &= \sum_{i=1}^n w_i \log \int f(x)\, p(y_i \mid x, X_e)\, \mathrm dx \\
# &\approx \sum_{i=1}^n w_i \log \frac1K \sum_{k=1}^K f(x_{ik}) + \text{const}
# \end{aligned}
# $$ (eq-population)
#
# with all weights $w_i = 1$. Named families are fitted so and compared by Akaike's criterion, $\mathrm{AIC} = -2\,\ell + 2\,\text{number of
# parameters}$: five for each marginal, truncated to $[0, 1]$, and pairs of those that come close; for the best pair four copulas
# {cite:p}`joe2014` beside independence; and, from fifty hours up, two clusters, independent within, and one more as long as each
# betters the one before. A weak prior keeps single hours from being taken for certainties.
#
# The uncertainty comes from replicates {cite:p}`newton2021`: the weights $w_i$ are random, exponential with mean 1, the prior has another
# centre, $X_e$ another value of $E$, and the form is drawn among all that were tried by its Akaike weight {cite:p}`burnham2004`,
# $e^{-\mathrm{AIC}/2}$ for hours so weighted.

# %%
settings = UM2Settings(Rounds(), population_draws, population_replicates)
um_2 = UM2.from_weights(
    study.keep(
        "um_2",
        add_f_a,
        e=study.read("shared", "e"),
        estimator=estimator,
        observed=observed,
        settings=settings,
        random_seeds=[76, 4],  # for values of X_e, for f_a
    )
)
e, f_a, replicates, inferred = um_2.e, um_2.f_a, um_2.replicates, um_2.inferred
true_f_a = true_uncertainty_model().f_a
score = study.keep("score", score_aleatory, f_a=f_a, random_seed=77)
estimate = np.array(
    [
        *score["mean"]["estimate"],
        *score["standard_deviation"]["estimate"],
    ]
)
target = np.array(
    [*score["mean"]["truth"], *score["standard_deviation"]["truth"]]
)
error = np.std([moments(other, 78) for other in replicates], axis=0, ddof=1)
study.claim(
    "means and standard deviations of X_a lie within three of their errors of the truth",
    np.all(np.abs(estimate - target) < 3 * error),
)

# %% tags=["hide-input", "nbval-ignore-output"]
Markdown(
    markdown_table(
        ["families of $X_{a1}$ and $X_{a2}$", "AIC above the best"],
        [
            (row["name"], f"{row['aic']:.1f}")
            for row in inferred["candidates"][:8]
        ],
    )
)

# %% [markdown]
# ## The tail
#
# A thousand hours show nothing beyond their largest values. What a family says there is an assumption. What can be said *without* one
# is a probability box: $X_a$ of an hour lies between the smallest and the largest of its $K$ samples but for a share of about
# $\delta = 2/(K+1)$, and the inequality of Dvoretzky, Kiefer and Wolfowitz {cite:p}`massart1990` bounds what $n$ hours leave open. With
# 95 % confidence, for all $x$ at once,
#
# $$
# P(X_a > x) \le \frac1n \sum_{i=1}^n 1\big[\max_k x_{ik} > x\big] + \sqrt{\frac{\log(2 / 0.05)}{2n}} + \delta,
# $$ (eq-p-box)
#
# and likewise from below.

# %%
grid = np.linspace(0, 0.95, 191)
x_e, rng = (
    e.posterior_sample(4, np.random.default_rng(76)),
    np.random.default_rng(79),
)
samples = estimator.sample(200, observed, x_e[0], rng)
p_box = probability_box(samples[..., 0], grid, level=0.95)
study.claim(
    "the probability box holds the true tail of X_a1 everywhere",
    np.all(
        (p_box[0] <= true_exceedance(0, grid))
        & (true_exceedance(0, grid) <= p_box[1])
    ),
)

# %% tags=["hide-input", "nbval-ignore-output"]
pooled = samples[:10].reshape(-1, 2)
tail = tail_of(inferred, 0, grid)
curves = {
    "UM2": tail.best,
    "truth": true_exceedance(0, grid),
    "ten posterior draws an hour": np.array(
        [(pooled[:, 0] > x).mean() for x in grid]
    ),
    "at most, without a family": p_box[1],
    **tail.rivals,
}
figures.present(
    figures.exceedance(grid, curves, tail.band, ALEATORY[0]),
    caption="Probability that X_a1 exceeds a value: UM2 with its replicates, the next best forms, posterior draws of all hours, the bound without "
    "a family, and the truth. Below a few per cent the hours alone bound nothing. Families go on, and their spread says how far they can be "
    "trusted.",
    alt="Curves on a logarithmic axis from 1 down to 1e-8; a band around the first widens to the right.",
)

# %% tags=["hide-input", "nbval-ignore-output"]

axis = (np.arange(200) + 0.5) / 200
plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def marginals(f_a):
    """Marginal densities of a family, (2, 200), by a grid of cells."""
    density = np.exp(f_a.log_prob(plane)).reshape(200, 200)
    return np.array([density.mean(axis=1), density.mean(axis=0)])


kernels = PooledDraws(pooled, len(pooled) // 10).density
figures.present(
    figures.marginal_densities(
        {
            "UM2": marginals(f_a),
            "pooled posterior samples": np.array(
                [kernels.marginal(k, axis) for k in range(2)]
            ),
            "truth": marginals(true_f_a),
        },
        axis,
        ALEATORY,
    ),
    caption="Marginal densities of f_a by UM2, of the pooled samples of the same estimator, and of the truth. This f_a is wide compared "
    "with an hour's error, so pooling hardly blurs it. Other truths has narrow ones.",
    alt="Two panels of three densities each over 0 to 1, one for X_a1 and one for X_a2, nearly on top of each other.",
)

# %% [markdown]
# ## From one hour up
#
# With $X_e$ as the ten control points tell it, $f_a$ can be inferred from fewer hours. It is less certain then and says so.

# %%
counts = [
    count for count in (1, 10, 100, 1000) if count <= observed.sizes["sample"]
]
order = np.random.default_rng(80).permutation(observed.sizes["sample"])
by_hours = {
    count: study.keep(
        f"f_a_{count}",
        infer_um2_f_a,
        estimator=estimator,
        observed=observed.isel(sample=order[:count]),
        e=e,
        settings=settings,
        random_seeds=[76, 4],
    )
    for count in counts[:-1]
}
by_hours[counts[-1]] = inferred

# %% tags=["hide-input", "nbval-ignore-output"]
threshold = 0.6


def exceeded(kept):
    """Probability that X_a1 exceeds the threshold."""
    return float(FamilyDistribution.from_dict(kept).exceedance(0, threshold))


intervals = {
    count: np.quantile(
        [exceeded(other) for other in kept["replicates"]], [0.05, 0.95]
    )
    for count, kept in by_hours.items()
}
Markdown(
    markdown_table(
        [
            "hours",
            "form chosen",
            f"P($X_{{a1}}$ > {threshold})",
            "90 % of the replicates",
        ],
        [
            (
                f"{count:,}",
                kept["candidates"][0]["name"],
                f"{exceeded(kept['distribution']):.1e}",
                interval(*intervals[count], ".0e"),
            )
            for count, kept in by_hours.items()
        ]
        + [
            (
                "truth",
                "",
                f"{true_exceedance(0, threshold):.1e}",
                "",
            )
        ],
    )
)

# %%
factors = [np.log(high / max(low, 1e-300)) for low, high in intervals.values()]
study.claim(
    "a thousand hours say more of that than ten",
    factors[-1] < factors[1],
)

# %% [markdown]
# ## Does UM2 predict what was observed?
#
# The check of {doc}`05_epistemic`, for UM2: hours with $X_a$ from $f_a$ and $X_e$ from $E$ are compared with those observed at the same control
# point. If UM2 were correct, the level of an observed hour among the predicted ones would be uniform. The outputs of an hour are dependent, so
# how many bars leave their band by chance is not obvious. We repeat the check with hours that UM2 itself predicts in place of the observed
# ones.

# %%
control_points = [
    x_c.tolist() for x_c in np.unique(observed.x_c.values, axis=0)
]
predicted = [
    predict_hours(
        um_2.model, x_c=x_c, hours=4000, random_seed=1000 + place, **box
    )
    for place, x_c in enumerate(control_points)
]


def levels_of(hours, rng):
    """Levels of hours, one dataset per control point, among the predicted ones."""
    pairs = zip(hours, predicted, strict=True)
    return xr.concat(
        [predictive_levels(*pair, rng) for pair in pairs], "sample"
    )


def as_observed(random_seed):
    """Hours that UM2 predicts, as many as were observed."""
    return [
        predict_hours(
            um_2.model,
            x_c=x_c,
            hours=int((observed.x_c == x_c).all("control").sum()),
            random_seed=10 * random_seed + place,
            **box,
        )
        for place, x_c in enumerate(control_points)
    ]


rng = np.random.default_rng(2)
compared = levels_of(
    [
        observed.isel(sample=(observed.x_c == x_c).all("control").values)
        for x_c in control_points
    ],
    rng,
)
beyond = share_beyond_chance(compared)
by_chance = [
    share_beyond_chance(levels_of(as_observed(1 + n), rng)) for n in range(30)
]
study.claim(
    "no more bars leave the band than in 98 % of data sets that UM2 predicts",
    beyond <= np.quantile(by_chance, 0.98),
)

# %% tags=["hide-input", "nbval-ignore-output"]
figures.present(
    figures.predictive_levels(compared),
    caption="Where the mean and the peak of each output of the observed hours lie among the hours that UM2 predicts. The grey band "
    "contains a bar with 95 % probability if UM2 is right.",
    alt="Twelve histograms of levels between 0 and 1, by output and by mean or peak, with a grey band.",
)

# %% tags=["nbval-ignore-output", "hide-input"]
glue("distance", f"{score['energy_distance']:.5f}", display=False)
glue(
    "distance_error",
    f"{2 * score['energy_distance_error']:.5f}",
    display=False,
)
glue("chosen", inferred["candidates"][0]["name"], display=False)
glue("beyond", f"{beyond:.0%}", display=False)
glue(
    "by_chance",
    f"{np.median(by_chance):.0%}, and up to {max(by_chance):.0%}",
    display=False,
)
glue("no_family", f"{p_box[1, -1]:.3f}", display=False)

# %% tags=["hide-input"]
sample = f_a.sample(50_000, np.random.default_rng(5))
for position, (mean, deviation) in enumerate(
    zip(sample.mean(axis=0), sample.std(axis=0), strict=True), 1
):
    study.number(f"mean of X_a{position}", mean, within=0.02)
    study.number(f"deviation of X_a{position}", deviation, within=0.05)
study.number("share of bars beyond the band", beyond, within=0.5)
study.number("least bound without a family", p_box[1, -1], within=0.05)

# %% [markdown]
# ## In numbers
#
# Of the families tried, the hours choose *{glue:text}`chosen`*. The energy distance of $f_a$ from the truth is {glue:text}`distance` ±
# {glue:text}`distance_error`, an unbiased estimate that chance can put below 0. {glue:text}`beyond` of the bars of the predictive check
# leave their band; with hours that UM2 itself predicts it is {glue:text}`by_chance`. Without any family, a thousand hours bound no tail probability below {glue:text}`no_family`. One system proves
# little, and the form of this one's $f_a$ is among those tried, the best case; {doc}`12_other_truths` has more, and forms that are not.
