# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Optimal designs
#
# *Which control point is best, if $X_a$ varies and $X_e$ is the worst that the observations allow?* The paper's designs come from a
# swarm on its surrogate {cite:p}`wang2025`. We rebuild them first. Then we compute designs for UM1, UM2 and the truth, with
# probabilities of failure down to one in a hundred million, and judge every design by the truth.

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0
interval_resamples = 8
population_replicates = 10
published_iterations = 5
emulator_runs = 30_000
emulator_epochs = 20
refinement_runs = 20_000
refinement_epochs = 8
severity_runs = 3000
design_starts = 8
design_hours = 2000
pof_calls = 5000
landscape_points = 15
polishing_hours = 2000
front_points = 3
exact_repeats = 50

# %% tags=["hide-input"]
import numpy as np
from flowcal.challenge import BASELINE, PUBLISHED
from flowcal.decide.design import (
    DESIGN_PROBLEMS,
    DesignError,
    Effort,
    find_design,
)
from flowcal.decide.failure import failure_curves
from flowcal.decide.paper import TimeStepSurrogate, published_design
from flowcal.decide.power import (
    PowerEmulator,
    emulator_training,
    refinement_training,
    tabulate_performance,
)
from flowcal.decide.problems import (
    DesignSettings,
    FailureSeverities,
    SolvedDesigns,
    compare_performance,
    designs_for,
    polish_design,
    required_severity,
)
from flowcal.report import figures
from flowcal.report.export import (
    inferred_models,
    inferred_replicates,
)
from flowcal.report.tables import (
    interval,
    markdown_table,
    point,
    probability,
    with_error,
)
from flowcal.report.truth import (
    REBUILT,
    judge_by_truth,
    true_performance,
    true_uncertainty_model,
)
from flowcal.simulate.simulator import problem_of
from flowcal.study import Study
from IPython.display import Markdown
from myst_nb import glue

study = Study(
    "designs", profile, simulator, observations, scheduler, allowed_share
)
box = study.box
models = {
    **inferred_models(study),
    "truth": true_uncertainty_model(),
}
replicates = {
    "UM1": inferred_replicates(study, interval_resamples, 1)["UM1"],
    "UM2": inferred_replicates(study, population_replicates, 1)["UM2"],
    "truth": [],
}

# %% [markdown]
# ## Three problems
#
# With the expected power
#
# $$
# J(X_e, X_c) = \mathbb{E}_{X_a, s}\Big[\tfrac{1}{60} \sum_t (y_1 + y_2 + y_3)\Big]
# $$ (eq-performance)
#
# and $\text{pof}(X_e, X_c)$, the probability that the peak of any load exceeds its threshold, the challenge asks
# {cite:p}`agrell2025` for the design with the largest guaranteed performance, $\max_{X_c} \min_{X_e \in E} J$ (2.1); the most reliable
# one, $\min_{X_c} \max_{X_e \in E} \text{pof}$ (2.2); and the one with the largest guaranteed performance among those whose largest pof
# is at most $\epsilon$ (2.3), with $10^{-3}$ and $10^{-4}$ in the paper, $10^{-3}$ and $10^{-6}$ in the organisers' form.
#
# The organisers' slides define both quantities a little differently: $J$ as a *sum* over the sixty minutes, and pof as the *sum* of the
# loads' probabilities instead of the probability that any load fails. The first is $60\,J$ and changes no design. The second is at
# most larger; the table of judged designs below has both.
#
# The paper words 2.3 as solving 2.1 "in the output space $I_2$". $I_2$ holds the loads, which nobody wants to maximise. We take the
# objective of 2.1, as the organisers define it, and apply the constraint to $I_2$.
#
# ## The paper's way, rebuilt
#
# A swarm of twenty particles tries control points on the sixty networks of the last chapter, those that were trained on $X_a$ of the same
# kind. At each control point it takes ten $X_e$
# from UM1's $E$ and a hundred $X_a$ with each, the same for all control points. $J$ is the smallest of the ten means, pof the largest
# of the ten shares of failures. Section 4.1 of the paper has $X_a$ "sampled from an interval of $[0, 1]$". We read that as uniform, and
# try UM1's $f_a$ as well. pyswarms has no constraints, so a pof above $\epsilon$ costs $10^4$ MW per unit. The paper does not state how
# many samples, particles and iterations it used. Here there are {glue:text}`iterations` iterations.

# %%
rng = np.random.default_rng(8)
drawn = {
    "uniform": rng.random((100, 2)),
    "f_a": models["UM1"].f_a.sample(100, rng),
}
tried_by_swarm = {
    (name, how): (
        f"published_{number}_{how}",
        {
            "goal": goal,
            "x_a": x_a,
            "surrogate": TimeStepSurrogate.from_weights(
                study.read("surrogate", f"time_steps_{how}")
            ),
        },
    )
    for number, (name, goal) in enumerate(DESIGN_PROBLEMS.items())
    for how, x_a in drawn.items()
    if goal.epsilon != 1e-6
}
swarms = study.keep_all(
    published_design,
    dict(tried_by_swarm.values()),
    e=models["UM1"].e,
    problem=problem_of(study.simulator),
    epistemic_draws=10,
    particles=20,
    iterations=published_iterations,
    random_seed=1,
)
as_published = {key: swarms[kept] for key, (kept, _) in tried_by_swarm.items()}

# %% [markdown]
# ## Ours
#
# The emulator of the last chapter gives $J$, and severity gives pof. Neither has noise, so a gradient-based search works. The worst
# $X_e$ is searched over $E$ as in *Prediction intervals*. The $X_e$ that is worst for the best design so far joins those that the next
# search guards against, until none is worse. SLSQP starts from points spread over the cube. A swarm adds nothing to that (see
# {doc}`../book/benchmarks`). We then train the emulator further on runs near all optima found, and search again. A constraint has to
# hold at an *upper credible bound*: the failure level that it needs is the 95 % quantile over $f_a$ and its replicates. The tables show
# simulated values: new hours at the worst $X_e$, with the emulator as a control variate for $J$, and importance sampling for pof.

# %%
settings = DesignSettings(
    emulator_runs=emulator_runs,
    emulator_training=emulator_training(emulator_epochs),
    refinement_runs=refinement_runs,
    refinement_training=refinement_training(refinement_epochs),
    severity_runs=severity_runs,
    effort=Effort(design_starts),
    hours=design_hours,
    pof_calls=pof_calls,
)
everywhere = study.read("surrogate", "power")  # as trained for UM2
solved_by_name = study.keep_all(
    designs_for,
    {
        f"designs_{name.lower()}": {
            "model": model,
            "replicates": replicates[name],
            "emulator": everywhere if name == "UM2" else None,
        }
        for name, model in models.items()
    },
    settings=settings,
    random_seed=3,
    trainer=study.trainer,
    **box,
)
solved = {
    name: SolvedDesigns.from_weights(solved_by_name[f"designs_{name.lower()}"])
    for name in models
}
designs = {name: found.designs for name, found in solved.items()}

# %% [markdown]
# ## The landscape
#
# The figure shows both quantities under UM2, at a point of its $E$. The system behaves nearly the same on both sides of
# $X_{c1} = 0.4$ and of $X_{c2} = 0.6$. So $J$ has four optima, which are mirror images of each other and nearly equal. The most reliable
# design lies between them.

# %% tags=["hide-input", "nbval-ignore-output"]
emulator = PowerEmulator.from_weights(everywhere)
(performance,) = tabulate_performance(
    emulator, [models["UM2"].f_a], models["UM2"].e
)
(curve,) = failure_curves([models["UM2"].f_a], solved["UM2"].severity)
severities = FailureSeverities(**box)
grid, heights = np.linspace(0, 1, landscape_points), np.linspace(0, 1, 9)
x_c = np.stack(np.meshgrid(heights, grid, grid, indexing="ij"), -1).reshape(
    -1, 3
)[:, [1, 2, 0]]
x_e = np.tile(
    designs["UM2"]["reliability"]["worst_for_severity"], (len(x_c), 1)
)
shape = (len(heights), len(grid), len(grid))
j = performance(x_e, x_c).reshape(shape)
pof = curve(severities(x_e, x_c).min(axis=1)).reshape(shape)
marks = {
    f"{name}, optimum {number}": basin["x_c"]
    for name, most in (("performance", 4), ("reliability", 1))
    for number, basin in enumerate(
        designs["UM2"][name]["basins"][:most], start=1
    )
}
figures.present(
    figures.design_landscape(
        grid, heights, j, np.log10(np.maximum(pof, 1e-9)), marks
    ),
    caption="Expected power and the logarithm of the probability of failure over the first two control inputs; the slider moves the "
    "third. Marks are the optima of J and the most reliable design, drawn at every height. The optima of power surround the valley "
    "in which failures are rarest, so reliability costs power.",
    alt="Two contour maps side by side with a slider beneath: four bright areas around the middle on the left, and one dark valley in "
    "the middle on the right.",
)

# %% [markdown]
# ## Table 4, side by side
#
# The table shows the guaranteed $J$ and the largest pof over $E$, each under its own model, with two standard errors. The brackets hold
# the range of 5 to 95 % over the replicates of $f_a$. UM1's $f_a$ consists of pooled samples from a thousand hours. Hours without a
# failure only bound its probability by $3/n$ {cite:p}`hanley1983`. So below 0.003 UM1 gives a bound, never 0, and refuses a smaller
# $\epsilon$.
#
# UM2 has seen the same thousand hours. What it states below 0.003 rests on the tail of the named family of its $f_a$. The brackets, in
# which all families compete, measure that uncertainty. They cover $f_a$ only, not the chance that $E$ misses $X_e^*$.

# %% tags=["hide-input", "nbval-ignore-output"]


def seen_j(design):
    """J as simulated, with the range over f_a, as text."""
    low, high = design["j_over_f_a"]
    return with_error(*design["j"], ".3f") + (
        f" {interval(low, high, '.3f')}" if high > low else ""
    )


def seen_pof(design, resolution):
    """The system's pof as simulated, with the range over f_a, as text; of pooled samples the bound."""
    pof, error, upper = (
        design["pof"][key][-1] for key in ("pof", "standard_error", "upper")
    )
    if resolution > 0:
        return f"below {design['pof_over_e'][1]:.0e}"
    low, high = design["pof_over_f_a"]
    return probability(pof, error, upper, ".1e") + (
        f" {interval(low, high, '.1e')}" if high > low and pof > 0 else ""
    )


def seen_cost(name, swarm):
    """A swarm's own value of its best design, as J and pof."""
    if name == "reliability":
        return "", f"{swarm['cost']:.3g}, a share of 100"
    if swarm["cost"] > 0:
        return "", "none tried keeps it"
    return f"{-swarm['cost']:.3f}", ""


rows = [
    (
        name,
        REBUILT[how],
        point(swarm["x_c"]),
        *seen_cost(name, swarm),
    )
    for (name, how), swarm in as_published.items()
] + [
    (
        name,
        team,
        point(entry.designs[name].x_c),
        entry.designs[name].j or "",
        "" if entry.designs[name].pof is None else entry.designs[name].pof,
    )
    for team, entry in PUBLISHED.items()
    for name in DESIGN_PROBLEMS
    if name in entry.designs
]
for name, by_problem in designs.items():
    rows += [
        (problem, name, "", "", "refused")
        if "refused" in design
        else (
            problem,
            name,
            point(design["x_c"]),
            seen_j(design),
            seen_pof(design, models[name].f_a.resolution),
        )
        for problem, design in by_problem.items()
    ]
order = list(DESIGN_PROBLEMS)
Markdown(
    markdown_table(
        ["problem", "by", "$X_c$", "$J$ [MW]", "pof"],
        sorted(rows, key=lambda row: order.index(row[0])),
    )
)

# %% tags=["hide-input", "nbval-ignore-output"]
Markdown(
    "\n\n".join(
        f"UM1, {problem}: *{design['refused']}*"
        for problem, design in designs["UM1"].items()
        if "refused" in design
    )
)

# %%
study.claim(
    "UM1 refuses every epsilon, and only these",
    [
        problem
        for problem, design in designs["UM1"].items()
        if "refused" in design
    ]
    == ["epsilon 1e-3", "epsilon 1e-4", "epsilon 1e-6"],
)
study.claim(
    "UM2 and the truth answer all five problems",
    not any(
        "refused" in design
        for name in ("UM2", "truth")
        for design in designs[name].values()
    ),
)
study.claim(
    "no simulated pof exceeds its epsilon by more than its error",
    all(
        design["pof"]["pof"][-1] - 2 * design["pof"]["standard_error"][-1]
        <= DESIGN_PROBLEMS[problem].epsilon
        for name in ("UM2", "truth")
        for problem, design in designs[name].items()
        if DESIGN_PROBLEMS[problem].epsilon
    ),
)
study.claim(
    "UM2 finds the most reliable design of all: no f_a has a part in it",
    np.allclose(
        designs["UM2"]["reliability"]["x_c"],
        designs["truth"]["reliability"]["x_c"],
        atol=0.02,
    ),
)

# %% [markdown]
# The most reliable design depends on $X_e$ alone. The severity of an hour decides all its peaks, and $f_a$ and the seed decide the
# severity. The control point decides only at which severity a load reaches its threshold. Whatever $f_a$ is, the best design puts that
# level as high as possible.
#
# ## Judged by the truth
#
# We judge every design at the true $X_e^*$ and $f_a$: how far its $J$ lies below the best, in hours that all designs share, so that
# differences are precise, and its pof by importance sampling. The $J$ of the best is computed once, by numerical integration over the
# true $f_a$.

# %%
truth = models["truth"]
true_x_e = truth.e.bounding_box[0]
tried = (
    {"baseline": BASELINE}
    | {
        f"{team}, {name}": design.x_c
        for team, entry in PUBLISHED.items()
        for name, design in entry.designs.items()
    }
    | {
        f"{REBUILT[how]}, {problem}": swarm["x_c"]
        for (problem, how), swarm in as_published.items()
    }
    | {
        f"{name}, {problem}": design["x_c"]
        for name, by_problem in designs.items()
        for problem, design in by_problem.items()
        if "refused" not in design
    }
)
best = designs["truth"]["performance"]
judged = study.keep(
    "judged",
    judge_by_truth,
    designs=tried,
    best=best["x_c"],
    hours=pof_calls,
    pof_calls=pof_calls,
    random_seed=4,
    **box,
)
best_j, best_j_error = study.keep(
    "best_j",
    true_performance,
    x_c=best["x_c"],
    repeats=exact_repeats,
    random_seed=8,
    **box,
)
print(
    f"J of the best design under the truth: {best_j:.4f} ± {best_j_error:.4f} MW"
)
j_of = {name: best_j + row["difference"] for name, row in judged.items()}

# %% tags=["hide-input", "nbval-ignore-output"]
Markdown(
    markdown_table(
        [
            "design",
            "$X_c$",
            "$J$ [MW]",
            "below the truth's best [%]",
            "pof",
            "sum of the loads' pof",
        ],
        [
            (
                name,
                point(tried[name]),
                f"{j_of[name]:.3f}",
                f"{100 * (1 - j_of[name] / best_j):z.3f} ± {200 * row['difference_error'] / best_j:.3f}",
                probability(row["pof"], row["pof_error"], row["pof_upper"]),
                f"{row['pof_sum']:.1e}",
            )
            for name, row in judged.items()
        ],
    )
)

# %% [markdown]
# How good is the best? COBYQA climbs the simulator itself from each optimum of $J$ that the truth's search found. We measure the gain in
# new hours.

# %%
optima = [
    basin["x_c"] for basin in designs["truth"]["performance"]["basins"][:4]
]
climbed = [
    study.keep(
        f"climbed_{number}",
        polish_design,
        f_a=truth.f_a,
        x_e=true_x_e,
        x_c=x_c,
        hours=polishing_hours,
        random_seed=6,
        **box,
    )
    for number, x_c in enumerate(optima)
]
found = study.keep(
    "found",
    compare_performance,
    f_a=truth.f_a,
    x_e=true_x_e,
    designs=[*optima, *climbed],
    hours=10 * polishing_hours,
    random_seed=7,
    **box,
)
gained = (found.difference.max() / found.j[0]).item()
study.claim(
    "climbing the simulator gains less than 0.01 % on the best design found",
    gained < 1e-4,
    at="full",
)
study.claim(
    "climbed, the mirrored optima are equally good",
    np.ptp(found.difference.values[len(optima) :]) < 0.001,
    at="full",
)

# %% tags=["hide-input", "nbval-ignore-output"]


def less_the_first(place):
    """How far a design's J is from the first optimum's, as text."""
    row = found.isel(design=place)
    return with_error(
        row.difference.item(), row.standard_error.item(), "+.4f", ".4f"
    )


Markdown(
    markdown_table(
        [
            "optimum of $J$ under the truth",
            "$J$ [MW]",
            "less the first's [MW]",
            "climbed to",
            "less the first's [MW]",
        ],
        [
            (
                point(x_c),
                f"{found.j[place].item():.4f}",
                less_the_first(place),
                point(climbed[place]),
                less_the_first(place + len(optima)),
            )
            for place, x_c in enumerate(optima)
        ],
    )
)

# %% [markdown]
# ## What reliability costs
#
# The problem with a constraint, solved for a range of $\epsilon$ by UM2 and with the truth known. All designs are judged by the truth.

# %%
EPSILONS = np.logspace(-3.5, -7, front_points)


(true_performance,) = tabulate_performance(
    solved["truth"].emulator, [truth.f_a], truth.e
)
(true_curve,) = failure_curves([truth.f_a], solved["truth"].severity)


def front(name):
    """Pof and J under the truth, (n, 2), of a model's designs for a range of epsilon."""
    model = models[name]
    f_as = [model.f_a, *replicates[name]]
    (performance,) = tabulate_performance(
        solved[name].emulator, f_as[:1], model.e
    )
    curves = failure_curves(f_as, solved[name].severity)
    points = []
    for epsilon in EPSILONS:
        try:
            design = find_design(
                performance,
                severities,
                model.e,
                Effort(design_starts),
                problem_of(study.simulator),
                required_severity(curves, epsilon),
            )
        except DesignError:
            break
        there = true_x_e[None], np.array([design.x_c])
        pof = true_curve(severities(*there).min())
        points.append((float(pof), float(true_performance(*there)[0])))
    return np.reshape(points, (-1, 2))


fronts = {name: front(name) for name in ("UM2", "truth")}

# %% tags=["hide-input", "nbval-ignore-output"]
sources = {
    "baseline": "baseline",
    "Wang": "Wang et al.",
    "Roy": "Roy Sarkar et al.",
    "rebuilt": "the paper's way, rebuilt",
}
figures.present(
    figures.design_front(
        fronts,
        {
            source: {
                name: (judged[name]["pof"], j_of[name])
                for name in tried
                if name.startswith(start)
            }
            for start, source in sources.items()
        },
    ),
    caption="Expected power against the probability of failure, all judged by the truth: designs for a range of epsilon, found by UM2 "
    "and with the truth known, and designs of others. UM2 keeps epsilon at its credible bound, so its designs are the safer ones.",
    alt="Two curves that rise to the right, close together; most marks lie at their right end or below them.",
)

# %% [markdown]
# ## What it costs

# %%
seconds = solved["UM2"].result["seconds"] + sum(
    sum(network.history.seconds)
    for network in (emulator, solved["UM2"].emulator)
)
calls = (
    emulator_runs
    + refinement_runs
    + severity_runs
    + 2 * solved["UM2"].result["calls"]["search"]
    + solved["UM2"].result["calls"]["verification"]
)
study.claim(
    "all five problems for UM2 take at most 300,000 simulations, verification included",
    calls <= 300_000,
)

# %% tags=["nbval-ignore-output", "hide-input"]
glue("iterations", published_iterations, display=False)
glue("seconds", f"{seconds:.0f}", display=False)
glue("calls", f"{calls:,}", display=False)
glue("hours_alone", f"{calls * 0.2 / 3600:.0f}", display=False)
glue("minutes_cluster", f"{calls * 0.2 / 60 / 64:.0f}", display=False)
glue("gained", f"{100 * max(gained, 0):.3f} %", display=False)
for key, name in {
    "um_2": "UM2",
    "paper": "Wang et al.",
    "rebuilt": REBUILT["uniform"],
}.items():
    glue(
        f"{key}_reliable",
        f"{judged[f'{name}, reliability']['pof']:.0e}",
        display=False,
    )
    more = judged[f"{name}, performance"]["difference"] / best_j
    glue(
        f"{key}_short",
        f"{100 * abs(more):.3f} % {'above' if more > 0 else 'below'}",
        display=False,
    )

# %% tags=["hide-input"]
study.number("best J under the truth [MW]", best_j, within=1e-3)
for team in ("Wang et al.", "UM2", "truth"):
    study.number(
        f"J of the performance design [MW], {team}",
        best_j + judged[f"{team}, performance"]["difference"],
        within=1e-3,
    )
    study.number(
        f"order of the smallest pof, {team}",
        np.log10(judged[f"{team}, reliability"]["pof"]),
        within=0.05,
    )

# %% [markdown]
# ## In numbers
#
# Under the truth the paper's design for performance lies {glue:text}`paper_short` the best that the truth's own search found, the rebuilt
# one {glue:text}`rebuilt_short`, and UM2's {glue:text}`um_2_short`. Climbing the simulator itself gains {glue:text}`gained`. The paper's
# most reliable design fails with probability {glue:text}`paper_reliable`, UM2's with {glue:text}`um_2_reliable`. *Other truths* tests on
# twenty systems whether the credible bound holds. All problems for UM2 took {glue:text}`seconds` s, training included, and
# {glue:text}`calls` simulations. With the organisers' program these would take {glue:text}`hours_alone` hours on one core, or
# {glue:text}`minutes_cluster` minutes on 64. The intervals of the chapter before cost far more.
#
# `flowcal export DIR` writes designs, intervals and samples of both models in the organisers' form.
