"""The scorecard: all that was published, UM1, UM2 and the truth, each quantity with its distance from the truth.

It is gathered from what the chapters stored and written as `scorecard.json`, which feeds the chapter, and the table and
the picture of the landing page.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from flowcal import __version__
from flowcal.challenge import EPISTEMIC, LOADS, OUTPUTS, PUBLISHED
from flowcal.decide.design import DESIGN_PROBLEMS
from flowcal.decide.problems import SolvedDesigns
from flowcal.files import Record, as_record
from flowcal.infer.checks import coverage
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.models import EpistemicBox, EpistemicSet
from flowcal.report.tables import interval, listed, markdown_table, number, point, probability, with_error
from flowcal.report.truth import REBUILT, score_set, true_uncertainty_model
from flowcal.study import Study

__all__ = [
    "READINGS",
    "Bound",
    "Design",
    "Distribution",
    "Epistemic",
    "Scorecard",
    "TOLERANT",
    "Verdict",
    "aleatory_table",
    "bounds_table",
    "designs_table",
    "epistemic_table",
    "make_scorecard",
    "summary_table",
]

READINGS = {"flattened": "time flattened", "trajectory": "per trajectory"}
"""The two readings of a prediction interval, by the beginning of their artifacts' names."""

TOLERANT = "UM2, control points known to 0.001"
"""Source of the set E that allows for rounded control points."""

MODELS = ("UM1", "UM2", "truth")
SUMMARISED = {
    "most reliable": "reliability",
    "$\\epsilon = 10^{-3}$": "epsilon 1e-3",
    "$\\epsilon = 10^{-4}$": "epsilon 1e-4",
}
DRAWS = 4000
DESIGN = ("source", "problem", "x_c", "claimed_j", "claimed_pof")
BOUND = ("source", "reading", "alpha", "output", "side", "bound", "error")

Source = Annotated[str, Field(pattern=r"^[^|<>`{}\\\p{C}\p{Zl}\p{Zp}]{1,80}$")]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share, Share]


def _one_of(names: Iterable[str]) -> str:
    return f"^({'|'.join(names)})$"


class Epistemic(Record):
    """A set E: the ends of the box around it, its volume, whether it contains X_e*, and a best guess of X_e."""

    low: Point
    high: Point
    volume: Share
    contains: bool
    least_distance: NotNegative
    best_guess: Point | None
    best_guess_distance: NotNegative | None


class Distribution(Record):
    """An f_a: moments of X_a1 and X_a2, and the energy distance from the truth with one standard error."""

    mean: tuple[Number, Number]
    standard_deviation: tuple[NotNegative, NotNegative]
    correlation: Annotated[float, Field(ge=-1, le=1)]
    energy_distance: Number
    energy_distance_error: NotNegative


class Bound(Record):
    """A bound of a prediction interval at the baseline, and its distance from the truth's bound in the same reading.

    Its error is two standard errors, or the larger side of a 95 % interval; None where not published.
    """

    source: Source
    reading: Annotated[str, Field(pattern=_one_of(READINGS.values()))]
    alpha: Share
    output: Annotated[str, Field(pattern=_one_of(OUTPUTS))]
    side: Literal["lower", "upper"]
    bound: Number
    error: NotNegative | None
    distance: Number


class Verdict(Record):
    """A design under the truth: J less that of the best design for performance [MW], and its probability of failure.

    Errors are one standard error; `pof_upper` is a bound of 95 %, None where only the error was published. `pof_sum` is
    the sum of the loads' probabilities, the organisers' other definition.
    """

    difference: Number
    difference_error: NotNegative
    pof: Share
    pof_error: NotNegative
    pof_upper: NotNegative | None
    pof_sum: NotNegative | None = None

    @property
    def upper(self) -> float:
        """The bound on the probability of failure, from its error where no bound was published."""
        return self.pof + 2 * self.pof_error if self.pof_upper is None else self.pof_upper


class Design(Record):
    """A design with what its makers claim and the truth's verdict; `x_c` is None where a model refuses the problem."""

    source: Source
    problem: Annotated[str, Field(pattern=_one_of(DESIGN_PROBLEMS))]
    x_c: Point | None
    claimed_j: Number | None
    claimed_pof: Share | None
    judged: Verdict | None


class Scorecard(Record):
    """Everything published, UM1, UM2 and the truth: sets E and distributions f_a by source, bounds, and designs.

    `best_j` is the largest J that was found under the truth [MW]; `coverage` holds the shares of true X_a1 and X_a2
    within their 90 % intervals, by training and trial.
    """

    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")]
    profile: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
    epistemic: Annotated[dict[Source, Epistemic], Field(max_length=100)]
    aleatory: Annotated[dict[Source, Distribution], Field(max_length=100)]
    bounds: Annotated[tuple[Bound, ...], Field(min_length=1, max_length=1000)]
    designs: Annotated[tuple[Design, ...], Field(min_length=1, max_length=1000)]
    baseline: Verdict
    best_j: Annotated[float, Field(gt=0, le=1e9)]
    coverage: Annotated[dict[Source, tuple[Share, Share]], Field(max_length=100)]

    @field_validator("epistemic")
    @classmethod
    def _has_all_models(cls, sets: dict[str, Epistemic]) -> dict[str, Epistemic]:
        if missing := set(MODELS) - set(sets):
            raise ValueError(f"expected sets of {', '.join(MODELS)}, got none of {', '.join(sorted(missing))}")
        return sets


def make_scorecard(study: Study) -> Scorecard:
    """Gather the scorecard from what the chapters up to 'designs' stored."""
    judged = study.read("designs", "judged")
    trials = ("fixed seed, tried on it", "fixed seed, tried on others", "fresh seeds, tried on others")
    ranks = [study.read("aleatory", f"calibration_{place}")["rank"] for place in range(1, len(trials) + 1)]
    gathered = {
        "version": __version__,
        "profile": study.folder.name.partition("-")[0],
        "epistemic": dict(_sets(study)),
        "aleatory": dict(_distributions(study)),
        "bounds": list(_bounds(study)),
        "designs": [
            dict(zip(DESIGN, row, strict=True)) | {"judged": judged[f"{row[0]}, {row[1]}"] if row[2] else None}
            for row in _designs(study)
        ],
        "baseline": judged["baseline"],
        "best_j": study.read("designs", "best_j")[0],
        "coverage": {trial: coverage(rank, 0.9).tolist() for trial, rank in zip(trials, ranks, strict=True)},
    }
    return as_record(Scorecard, gathered, "the scorecard")


def _sets(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every E by source, with its best guess."""

    def scored(e: EpistemicSet, guess: Sequence[float] | None) -> dict[str, Any]:
        low, high = e.bounding_box.tolist()
        return {"low": low, "high": high, "best_guess": guess and list(guess)} | score_set(e, guess)

    for team, entry in PUBLISHED.items():
        low, high = np.transpose(list(entry.x_e_intervals.values()))
        yield team, scored(EpistemicBox(low, high), entry.x_e_best)
    um_1 = study.read("epistemic", "um_1")
    yield "UM1", scored(EpistemicBox(um_1["low"], um_1["high"]), um_1["best_guess"])
    for source, name in ((TOLERANT, "e_tolerant"), ("UM2", "e")):
        e = CredibleSet.from_weights(study.read("shared", name))
        yield source, scored(e, e.posterior_sample(DRAWS, np.random.default_rng(1)).mean(axis=0).tolist())
    truth = true_uncertainty_model().e
    yield "truth", scored(truth, truth.bounding_box[0].tolist())


def _distributions(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every f_a as it was scored, by source."""
    scores = {
        "UM1": study.read("aleatory", "score_fixed_seed"),
        "UM1, fresh seeds": study.read("aleatory", "score_fresh_seeds"),
        "UM2": study.read("population", "score"),
    }
    moments = ("mean", "standard_deviation", "correlation")
    for source, score in scores.items():
        distances = {key: score[key] for key in ("energy_distance", "energy_distance_error")}
        yield source, {key: score[key]["estimate"] for key in moments} | distances
    yield "truth", {key: scores["UM2"][key]["truth"] for key in moments} | dict.fromkeys(distances, 0.0)


def _bounds(study: Study) -> Iterator[dict[str, Any]]:
    """Every bound, published ones first."""
    rows = [*_published_bounds(), *_our_bounds(study)]
    truth = {row[1:5]: row[5] for row in rows if row[0] == "truth"}
    for row in rows:
        yield dict(zip(BOUND, row, strict=True)) | {"distance": row[5] - truth[row[1:5]]}


def _published_bounds() -> Iterator[tuple[Any, ...]]:
    for team, entry in PUBLISHED.items():
        for alpha, by_output in entry.prediction.items():
            for output, bounds in by_output.items():
                for side, bound in zip(("lower", "upper"), bounds, strict=True):
                    if not math.isnan(bound):
                        yield team, entry.prediction_reading[alpha], alpha, output, side, bound, None


def _our_bounds(study: Study) -> Iterator[tuple[Any, ...]]:
    for model, (key, reading) in itertools.product(MODELS, READINGS.items()):
        result = study.read("intervals", f"{key}_{model.lower()}")
        for alpha, output, side in itertools.product(result.alpha.values.tolist(), OUTPUTS, ("lower", "upper")):
            at = result.sel(alpha=alpha, output=output, side=side)
            bound = at.bound.item()
            by_ends = "standard_error" not in result
            error = max(at.high.item() - bound, bound - at.low.item()) if by_ends else 2 * at.standard_error.item()
            yield model, reading, alpha, output, side, bound, error


def _designs_of(study: Study, model: str) -> dict[str, Any]:
    """The designs of one uncertainty model by problem."""
    return SolvedDesigns.from_weights(study.read("designs", f"designs_{model.lower()}")).designs


def _designs(study: Study) -> Iterator[tuple[Any, ...]]:
    """Every design by source and problem, with what its makers claim."""
    for team, entry in PUBLISHED.items():
        for name, published in entry.designs.items():
            yield team, name, published.x_c, published.j, published.pof
    for how, source in REBUILT.items():
        for place, (name, problem) in enumerate(DESIGN_PROBLEMS.items()):
            if problem.epsilon == 1e-6:  # the paper has none
                continue
            swarm = study.read("designs", f"published_{place}_{how}")
            cost = swarm["cost"]
            if problem.reliability:
                yield source, name, swarm["x_c"], None, cost
            else:  # a positive cost is a penalty: no design that was tried keeps epsilon
                yield source, name, swarm["x_c"], -cost if cost < 0 else None, None
    for model in MODELS:
        for name, design in _designs_of(study, model).items():
            if "refused" in design:
                yield model, name, None, None, None
                continue
            pof = None if model == "UM1" else min(1.0, design["pof"]["pof"][-1])  # pooled samples only bound it
            yield model, name, design["x_c"], design["j"][0], pof


def epistemic_table(card: Scorecard) -> str:
    """Table 2: E and the best guess of X_e by source, with their distances from the truth."""
    inputs = [f"$X_{{{name.removeprefix('X_')}}}$" for name in EPISTEMIC]
    rows = []
    for source, row in card.epistemic.items():
        place = "inside" if row.contains else f"outside by {row.least_distance:.3f}"
        off = number(row.best_guess_distance, ".1e")
        rows.append((source, *map(_span, row.low, row.high), number(row.volume, ".1e"), place, off))
    return markdown_table(["", *inputs, "volume", "$X_e^*$ is", "best guess off by"], rows)


def aleatory_table(card: Scorecard) -> str:
    """f_a by source: moments and energy distance from the truth."""
    header = ["", "mean of $X_{a1}$, $X_{a2}$", "standard deviation", "correlation", "energy distance from the truth"]
    rows = [
        (source, listed(row.mean), listed(row.standard_deviation), f"{row.correlation:+z.2f}", _energy(row))
        for source, row in card.aleatory.items()
    ]
    return markdown_table(header, rows)


def bounds_table(card: Scorecard, outputs: Sequence[str], reading: str) -> str:
    """Table 3: bounds of some outputs in one of the `READINGS`, by source, with their distance from the truth's."""
    rows = [row for row in card.bounds if row.reading == reading and row.output in outputs]
    sources = list(dict.fromkeys(row.source for row in rows))
    found = {(row.alpha, row.output, row.side, row.source): row for row in rows}
    places = sorted({place[:3] for place in found}, key=lambda place: (place[0], outputs.index(place[1]), place[2]))
    return markdown_table(
        ["alpha", "output", "bound", *sources],
        [
            (alpha, f"$y_{output[1]}$", side, *(_bound(found.get((alpha, output, side, source))) for source in sources))
            for alpha, output, side in places
        ],
    )


def designs_table(card: Scorecard) -> str:
    """Table 4, and the designs for performance and reliability: what was claimed and what is true."""
    header = ["problem", "by", "$X_c$", "$J$ claimed [MW]", "below the best [%]", "pof claimed", "true pof"]
    order, rows = list(dict.fromkeys(row.problem for row in card.designs)), []
    for row in sorted(card.designs, key=lambda row: order.index(row.problem)):
        design = (point(row.x_c), number(row.claimed_j, ".3f")) if row.x_c else ("refused", "")
        pof = (number(row.claimed_pof, ".1e"), _pof(row.judged))
        rows.append((row.problem, row.source, *design, _below(row, card.best_j), *pof))
    return markdown_table(header, rows)


def summary_table(card: Scorecard) -> str:
    """The whole in one table, a column for each published entry, UM1, UM2 and the truth.

    UM1's designs are those of the rebuilt swarm, with X_a uniform.
    """
    teams = [source for source in card.epistemic if source.endswith("et al.")]
    sources = [*teams, *MODELS]
    sets = [card.epistemic[source] for source in sources]
    shown = [row for row in card.bounds if (row.output, row.alpha, row.side) == (LOADS[0], 0.999, "upper")]
    bounds = {(row.source, row.reading): f"{row.bound:,.0f}" for row in shown}
    designs: dict[tuple[str, str], Design | None] = {(row.source, row.problem): row for row in card.designs}
    for problem in DESIGN_PROBLEMS:  # the paper's way is its own search too
        designs["UM1", problem] = designs.get((REBUILT["uniform"], problem))
    rows = {
        "volume of $E$": [_volume(row) for row in sets],
        "best guess of $X_e$ off by": [number(row.best_guess_distance, ".1e") for row in sets],
        "$f_a$ off by, energy distance": [_energy(card.aleatory.get(source)) for source in sources],
    }
    for what, reading in zip(("minutes", "whole hours"), READINGS.values(), strict=True):
        cells = [bounds.get((source, reading), "") for source in sources]
        rows[f"$y_4$ stays below, {what} with probability 0.999"] = cells
    best = [designs.get((source, "performance")) for source in sources]
    rows["most power: below the best [%]"] = [_below(row, card.best_j) for row in best]
    for name, problem in SUMMARISED.items():
        rows[f"{name}: true pof"] = [_verdict(designs.get((source, problem))) for source in sources]
    header = ["", *teams, "the paper's way, rebuilt (UM1)", "this book (UM2)", "truth"]
    return markdown_table(header, [(name, *cells) for name, cells in rows.items()])


def _span(low: float, high: float) -> str:
    """An interval with two digits more than its ends have in common."""
    if low == high:
        return f"{low:.4f}"
    return interval(low, high, f".{2 + min(10, max(0, math.floor(-math.log10(abs(high - low)))))}f")


def _bound(row: Bound | None) -> str:
    if row is None:
        return ""
    form = ",.2f" if abs(row.bound) < 100 else ",.0f"
    text = f"{row.bound:{form}}"
    if row.error is not None:
        text += f" ± {row.error:{form}}"
    return text if row.source == "truth" else f"{text} ({row.distance:+z{form}})"


def _volume(row: Epistemic) -> str:
    return f"{row.volume:.0e}" + ("" if row.contains else ", misses $X_e^*$") if row.volume else "a point"


def _energy(row: Distribution | None) -> str:
    if row is None or not row.energy_distance:
        return "" if row is None else "0"
    return with_error(row.energy_distance, row.energy_distance_error, ".5f")


def _below(row: Design | None, best_j: float) -> str:
    """How much less J than the best a design has, with two standard errors."""
    if row is None or row.judged is None:
        return ""
    less, error = (100 * value / best_j for value in (-row.judged.difference, row.judged.difference_error))
    return with_error(less, error, "z.3f") if error > 0 else "0"


def _pof(verdict: Verdict | None) -> str:
    return probability(verdict.pof, verdict.pof_error, verdict.upper, ".1e", ".0e") if verdict else ""


def _verdict(row: Design | None) -> str:
    """True probability of failure, or that the problem was refused."""
    if row is None:
        return ""
    return probability(row.judged.pof, None, row.judged.upper, ".0e", ".0e") if row.judged else "refused"
