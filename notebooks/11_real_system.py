# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The real system
#
# *What do the organisers' own hundred hours say?* They were observed at one control point, which is printed with three digits.
# The methods of {doc}`06_shared` and {doc}`07_population` are applied to them unchanged. Where the organisers' file is not at hand
# (`flowcal fetch` brings it), a hundred hours of the embedded system at the same point take its place, and the page says so.

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0
shared_data_sets = 2000
population_draws = 32
population_replicates = 10

# %% tags=["hide-input"]
import warnings
from dataclasses import replace

import numpy as np
from flowcal.challenge import ALEATORY, BASELINE, EPISTEMIC, PUBLISHED
from flowcal.infer.checks import predict_hours, predictive_levels
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.models import EpistemicBox
from flowcal.infer.um2 import UM2, UM2Settings, infer_um2
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.infer.um2_epistemic import (
    IMPLAUSIBLE,
    MisspecifiedWarning,
    Rounds,
    infer_epistemic_set,
)
from flowcal.report import figures
from flowcal.report.export import moments, tail_of
from flowcal.report.tables import interval, markdown_table, with_error
from flowcal.report.truth import (
    score_set,
    true_exceedance,
    true_uncertainty_model,
)
from flowcal.simulate.observed import (
    RealSystem,
    organisers_file,
    read_organisers_file,
)
from flowcal.study import Study
from IPython.display import Markdown
from myst_nb import glue

study = Study(
    "real_system", profile, simulator, observations, scheduler, allowed_share
)
box = study.box
estimator = AleatoryEstimator.from_weights(study.read("shared", "estimator"))

# %% tags=["nbval-ignore-output", "hide-input"]
at_hand = organisers_file()
observed = (
    read_organisers_file(at_hand) if at_hand else RealSystem().observe(BASELINE)
)
print(
    "hours of the organisers' system"
    if at_hand
    else "hours of the embedded system: the organisers' file is not at hand"
)

# %% [markdown]
# ## One control point, and not quite known
#
# At one control point there are two ratios of loads for three unknowns. The features of the powers help, but they are noisy. The method
# stays the same. Its generality has a price here: $E$ is large and curved, and polynomials with a linear summary describe it less well than
# features made for this box could. Also, the printed control point, 0.533, 0.666 and 0.5, may be rounded or cut. So every simulated hour
# has its own control point within 0.001 of it.

# %%
rounds = Rounds(shared_data_sets, control_tolerance=1e-3)
um_2 = UM2.from_weights(
    study.keep(
        "um_2",
        infer_um2,
        observed=observed,
        estimator=estimator,
        settings=UM2Settings(rounds, population_draws, population_replicates),
        random_seed=[1, 4, 1],  # for E, for values of X_e, for f_a
        **box,
    )
)
e = um_2.e
low, high = e.bounding_box
box_volume = np.prod(high - low)
found = um_2.rounds
verdict = score_set(e)
study.claim("E holds the X_e* of the specification", verdict["contains"])
study.claim("E is smaller than a fifth of the cube", e.volume < 0.2)
study.claim(
    "the observed hours are no stranger than those that E predicts",
    found[-1]["plausibility"] > IMPLAUSIBLE,
)

# %% [markdown]
# The truth of the embedded real system, here called *the specification*, was derived from the same hours: $X_e^*$ was solved for with the
# noise-free equations of the box. A method that only knows a black box should find it too, and this checks the method. One control
# point cannot show whether its own printed value is rounded. Taken as exact, it leaves a smaller $E$:

# %% tags=["nbval-ignore-output"]
exact = replace(rounds, control_tolerance=0.0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", MisspecifiedWarning)  # it is asked for
    at_its_word = study.keep(
        "e_exact",
        infer_epistemic_set,
        observed=observed,
        estimator=estimator,
        rounds=exact,
        random_seed=2,
        **box,
    )
plausible = at_its_word.header["found"]["rounds"][-1]["plausibility"]
e_exact = CredibleSet.from_weights(at_its_word)
holds = "holds" if score_set(e_exact)["contains"] else "misses"
print(f"plausibility of the observed hours: {plausible:.2g}")
print(f"E has a volume of {e_exact.volume:.1g} and {holds} the specification")

# %% tags=["hide-input", "nbval-ignore-output"]
truth = true_uncertainty_model().e.bounding_box[0]
draws = e.posterior_sample(1500, np.random.default_rng(3))
figures.present(
    figures.epistemic_pairs(
        draws,
        {team: entry.x_e_intervals for team, entry in PUBLISHED.items()},
        truth,
    ),
    caption="E from the organisers' hundred hours, as draws, with the published boxes (from the hours of ten control points of "
    "the teams' own) and the specification's X_e*.",
    alt="Three panels, one for each pair of epistemic inputs: a narrow streak of points through a star, a large rectangle around "
    "it and a small one beside it.",
)

# %% [markdown]
# $E$ is long in the direction of $X_{e3}$, which these hours determine least. The last row of the table says whether a published box and $E$
# have points in common, by sampling both. Their intervals alone would not show it.

# %% tags=["hide-input", "nbval-ignore-output"]
published = {
    team: EpistemicBox(*np.transpose(list(entry.x_e_intervals.values())))
    for team, entry in PUBLISHED.items()
}
points = e.sample(4000, np.random.default_rng(8))


def meets(other):
    """Whether a point of the box is found in E, or one of E in the box."""
    within = other.sample(20_000, np.random.default_rng(9))
    return bool(e.contains(within).any() or other.contains(points).any())


def nearest(other):
    """Smallest distance of the points of E from the box."""
    corners = other.bounding_box
    outside = np.maximum(corners[0] - points, points - corners[1])
    return np.linalg.norm(np.maximum(outside, 0), axis=1).min()


met = {team: meets(other) for team, other in published.items()}
Markdown(
    markdown_table(
        ["", "E", *published, "X_e*"],
        [
            (
                f"$X_{{e{number + 1}}}$",
                *(
                    interval(*one.bounding_box[:, number], ".4g")
                    for one in (e, *published.values())
                ),
                f"{truth[number]:.4f}",
            )
            for number in range(len(EPISTEMIC))
        ]
        + [
            (
                "volume",
                f"{e.volume:.1e}",
                *(f"{other.volume:.1e}" for other in published.values()),
                "",
            ),
            (
                "meets E",
                "",
                *(
                    "yes"
                    if met[team]
                    else f"no, at most {nearest(other):.4f} away"
                    for team, other in published.items()
                ),
                "",
            ),
        ],
    )
)

# %% [markdown]
# ## $f_a$ from a hundred hours
#
# The specification's $f_a$ was also fitted to the organisers' hours, with the law of the noise known. Agreement with it shows that the
# method loses nothing, not that either is true.

# %%
f_a, replicates, inferred = um_2.f_a, um_2.replicates, um_2.inferred
estimate, target = (
    moments(one, 5) for one in (f_a, true_uncertainty_model().f_a)
)
error = np.std([moments(other, 5) for other in replicates], axis=0, ddof=1)
study.claim(
    "means and standard deviations lie within three of their errors of the specification's",
    np.all(np.abs(estimate - target) < 3 * error),
)

# %% tags=["hide-input", "nbval-ignore-output"]
labels = [
    f"{what} of $X_{{a{number}}}$"
    for what in ("mean", "standard deviation")
    for number in (1, 2)
]
Markdown(
    markdown_table(
        ["", "from these hours", "specification"],
        [
            (label, with_error(value, spread, ".3f"), f"{known:.3f}")
            for label, value, spread, known in zip(
                labels, estimate, error, target, strict=True
            )
        ]
        + [("form", inferred["candidates"][0]["name"], "Weibull x Weibull")],
    )
)

# %% tags=["hide-input", "nbval-ignore-output"]
grid = np.linspace(0, 0.95, 191)
tail = tail_of(inferred, 0, grid)
curves = {
    "from these hours": tail.best,
    "specification": true_exceedance(0, grid),
    **tail.rivals,
}
figures.present(
    figures.exceedance(grid, curves, tail.band, ALEATORY[0]),
    caption="Probability that X_a1 exceeds a value, from a hundred hours: the best form with its replicates, the next best ones, "
    "and the specification's. Below one in a hundred, forms that describe the hours equally well disagree.",
    alt="Curves on a logarithmic axis falling from 1; they part to the right within a wide band.",
)

# %% [markdown]
# ## Hours predicted, hours observed

# %% tags=["hide-input", "nbval-ignore-output"]
predicted = predict_hours(
    um_2.model, x_c=observed.x_c.values[0], hours=4000, random_seed=6, **box
)
levels = predictive_levels(observed, predicted, np.random.default_rng(7))
figures.present(
    figures.predictive_levels(levels),
    caption="Where the mean and the peak of each output of the observed hours lie among predicted ones. The grey band contains "
    "a bar with 95 % probability if the model is right. The hours are those that the model was inferred from.",
    alt="Twelve histograms of levels between 0 and 1, by output and by mean or peak, mostly within a grey band.",
)

# %% tags=["nbval-ignore-output", "hide-input"]
glue("box_volume", f"{box_volume:.0e}", display=False)
glue("volume", f"{e.volume:.0e}", display=False)
glue(
    "simulations",
    f"{sum(row['simulations'] for row in um_2.rounds):,}",
    display=False,
)
glue("holds", "holds" if verdict["contains"] else "misses", display=False)
glue(
    "meeting",
    " and ".join(f"that of {team}" for team in met if met[team]) or "none",
    display=False,
)
glue("form", inferred["candidates"][0]["name"], display=False)
glue(
    "source",
    "the organisers'"
    if at_hand
    else "the embedded system's (the organisers' file was not at hand)",
    display=False,
)

# %% tags=["hide-input"]
for label, value in zip(labels, estimate, strict=True):
    study.number(label, value, within=0.1)
study.number("order of the volume of E", np.log10(e.volume), within=0.1)
study.number("order of the volume of the box", np.log10(box_volume), within=0.1)

# %% [markdown]
# ## In numbers
#
# A hundred hours, {glue:text}`source`, at one control point known to 0.001 leave an $E$ of volume {glue:text}`volume` in a box of
# {glue:text}`box_volume`, after {glue:text}`simulations` simulations; it {glue:text}`holds` the specification's $X_e^*$. Their $f_a$ is
# *{glue:text}`form`*. Published boxes, which come from ten control points, that have points in common with it: {glue:text}`meeting`.
