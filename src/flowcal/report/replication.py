"""A replicated study: many synthetic real systems with known truths, each inferred anew and compared with its own."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, JsonValue
from tqdm import tqdm

from flowcal.artifacts import ArtifactError, digest
from flowcal.chapters import chapter_budget
from flowcal.code import code_digest, running_digest
from flowcal.decide.design import Effort
from flowcal.decide.power import emulator_training
from flowcal.decide.problems import DesignSettings
from flowcal.errors import FlowcalError, InputError
from flowcal.files import Record, as_record, read_json, read_record, write_json
from flowcal.infer.um1 import TRAINING, UM1Settings
from flowcal.infer.um2 import UM2Settings
from flowcal.infer.um2_aleatory import estimator_training, train_estimator
from flowcal.infer.um2_epistemic import Rounds
from flowcal.report.ablation import STAGES, ablate
from flowcal.report.boxes import BOXES, judge_box, judge_least_squares
from flowcal.report.readings import read_aleatory, read_design, read_epistemic
from flowcal.report.rebuild import rebuild
from flowcal.report.scorecard import Scorecard
from flowcal.report.synthetic import TAIL, judge, judge_designs, judge_paper
from flowcal.simulate.workers import worker_processes
from flowcal.study import Study, find_root

__all__ = [
    "Replication",
    "ReplicationError",
    "Verdict",
    "read_replication",
    "replicate",
    "summarise",
    "take_up",
    "verdict_folder",
    "write_boxes",
    "write_readings",
    "write_replication",
]

PUBLISHED = Path("book", "published", "replication.json")
READINGS = PUBLISHED.with_name("readings.json")
JUDGED_BOXES = PUBLISHED.with_name("boxes.json")
REBUILT_IN = ("aleatory", "epistemic", "surrogate", "designs")  # chapters whose budgets a rebuild has
THREADS = "OMP_NUM_THREADS"
SEEDS = 3000  # whose share in the peaks is measured, once for the search and once for the verdict

Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share, Share]


class ReplicationError(FlowcalError):
    """Some systems could not be judged."""


class Verdict(Record):
    """A verdict on a system; the number becomes the name of a file."""

    model_config = ConfigDict(extra="allow")
    number: Annotated[int, Field(ge=0, lt=1_000_000)]


class Judged(Verdict):
    """What all verdicts on a synthetic system have."""

    model_config = ConfigDict(extra="forbid")
    shape: str
    contains: bool


class Density(Record):
    """An f_a compared with the true one: energy distance and log density, each with the best possible."""

    energy_distance: float
    energy_distance_of_direct_draws: float
    log_density: float
    log_density_of_truth: float


class PaperVerdict(Judged, Density):
    """What `judge_paper` returned."""

    volume: float
    seconds: float


class Tail(Record):
    """How well a small probability of exceedance is known, with its 90 % interval."""

    probability: Share
    log_error: float
    log_error_of_true_family: float
    interval: tuple[Share, Share]
    covered: bool


class SystemVerdict(Judged, Density):
    """What `judge` returned."""

    x_e: Point
    volume: float
    bounding_box_volume: float
    simulations: int
    plausibility: float
    seconds_e: float
    seconds_f_a: float
    chosen: str
    pooling: Density
    tail: tuple[Tail, Tail]


class Solution(Record):
    """A design from a synthetic system under the truth; None where no design reaches the failure level."""

    level: float
    x_c: Point | None
    pof: Share | None
    j: float | None


class DesignVerdict(Judged):
    """What `judge_designs` returned."""

    credible: Solution
    plain: Solution
    truth: Solution


class Replication(Record):
    """The replicated study: its summary, a verdict per system, and what they were judged with."""

    summary: dict[str, JsonValue]
    recipes: dict[str, str] = Field(default_factory=dict)
    systems: tuple[SystemVerdict, ...]
    paper: tuple[PaperVerdict, ...]
    designs: tuple[DesignVerdict, ...]


def write_replication(
    systems: int, paper_systems: int, design_systems: int, scheduler: str | None = None
) -> dict[str, Any]:
    """Judge systems with the budgets of the `full` profile, and publish verdicts and summary as JSON.

    The three numbers say how many systems our inference, the paper's two steps, and the designs, with the `quick`
    profile's effort, are judged on: on a Dask scheduler, or without one on this machine.

    The chapters 'aleatory' and 'shared' have to have been run at `full`, for their networks serve all systems. Systems
    of an earlier call with the same code and settings, or published ones, are not judged again, and count.
    """
    study = Study("score", "full")
    full, modest = (chapter_budget(*of) for of in (("population", "full"), ("designs", "quick")))
    step_2 = chapter_budget("epistemic", "full")
    rounds = Rounds(chapter_budget("shared", "full")["shared_data_sets"])
    ours = {"settings": UM2Settings(rounds, full["population_draws"], full["population_replicates"])}
    runs, training = modest["emulator_runs"], emulator_training(modest["emulator_epochs"])
    spent = DesignSettings(runs, training, runs, training, SEEDS, Effort(modest["design_starts"]))
    training_2 = replace(TRAINING, epochs=step_2["epistemic_epochs"])
    points = UM1Settings(step_2["epistemic_runs"], training_2, step_2["validation_hours"], trial_draws=1)
    theirs = {"settings": points}
    try:
        published = read_replication()
    except ArtifactError:  # judged for the first time
        published = {}
    verdicts = _Verdicts(published, scheduler)
    kinds: tuple[tuple[str, Callable[..., dict[str, Any]], int, dict[str, Any], tuple[str, str]], ...] = (
        ("systems", judge, systems, ours, ("shared", "estimator")),
        ("paper", judge_paper, paper_systems, theirs, ("aleatory", "flow_fixed")),
        ("designs", judge_designs, design_systems, ours | {"designs": spent}, ("shared", "estimator")),
    )
    for name, function, count, spending, network in kinds:
        settings = spending | {"simulator": study.simulator}
        origin, weights = study.origin(*network), study.read(*network)
        verdicts.add(name, function, min(systems, count), origin, weights=weights, **settings)
    summary = summarise(verdicts.found["systems"])
    write_json(find_root() / PUBLISHED, {"summary": summary, **verdicts.found})
    return summary


def write_readings(trainings: int, rebuilds: int, scheduler: str | None = None) -> None:
    """Judge so many trainings of each step in the multiverse, twice as many surrogates, so many rebuilds of UM1.

    The ablation is judged too. The verdicts are published as JSON. The chapters 'observations' and 'shared' have to
    have been run at `full`. Trainings of an earlier call with the same code and settings, or published ones, are not
    repeated, and count.
    """
    study, root = Study("score", "full"), find_root()
    card = read_record(Scorecard, root / READINGS.with_name("scorecard.json"))
    best = next(row.x_c for row in card.designs if (row.source, row.problem) == ("truth", "performance"))
    published = read_json(root / READINGS) if (root / READINGS).exists() else {}
    budget = {key: value for name in REBUILT_IN for key, value in chapter_budget(name, "full").items()}
    verdicts = _Verdicts(published, scheduler)
    common = {"simulator": study.simulator, "observed": study.read("observations", "observed")}
    f_a = [row["draws"] for row in verdicts.add("aleatory", read_aleatory, trainings, **common)][:trainings]
    verdicts.add("epistemic", read_epistemic, trainings, f_a=f_a, **common)
    verdicts.add("design", read_design, 2 * trainings, simulator=study.simulator, f_a=f_a, best=best)
    common |= {"best": best, "budget": budget}
    verdicts.add("rebuild", rebuild, rebuilds, **common)
    common["budget"] = budget | chapter_budget("shared", "full") | chapter_budget("population", "full")
    origin, weights = study.origin("shared", "estimator"), study.read("shared", "estimator")
    verdicts.add("ablation", ablate, STAGES, origin, weights=weights, **common)
    write_json(root / READINGS, verdicts.found)


def write_boxes(systems: int, scheduler: str | None = None) -> None:
    """Judge E on so many systems for each of `BOXES`, with the quick profile's estimator of X_a, and publish as JSON.

    Least squares is judged on the same systems. Verdicts of an earlier call with the same code and settings, or
    published ones, are not repeated, and count.
    """
    study, root, budget = Study("score", "full"), find_root(), chapter_budget("shared", "quick")
    published = read_json(root / JUDGED_BOXES) if (root / JUDGED_BOXES).exists() else {}
    verdicts = _Verdicts(published, scheduler)
    for key, box in BOXES.items():
        name = f"estimator_{digest(box.simulator.identity)[:8]}"
        training = estimator_training(budget["estimator_epochs"])
        weights = study.keep(
            name, train_estimator, simulator=box.simulator, size=budget["estimator_runs"], training=training
        )
        origin, rounds = study.origin("score", name), Rounds(misfit=box.misfit)
        verdicts.add(key, judge_box, systems, origin, weights=weights, key=key, rounds=rounds)
        verdicts.add(f"{key}, least squares", judge_least_squares, systems, key=key)
        write_json(root / JUDGED_BOXES, {**published, **verdicts.found})


class _Verdicts:
    """Verdicts found by name, with the recipes that made them; published ones of the same recipe are taken up."""

    def __init__(self, published: Mapping[str, Any], scheduler: str | None) -> None:
        self.published, self.scheduler = published, scheduler
        self.found: dict[str, Any] = {"recipes": {}}

    def add(self, name: str, function: Callable[..., Any], count: int, origin: Any = None, **settings: Any) -> Any:
        """Judge so many numbers; in the recipe, the origin of networks stands for the weights among the settings."""
        folder = verdict_folder(function, settings | ({"weights": origin} if origin else {}))
        self.found["recipes"][name] = folder.name
        if self.published.get("recipes", {}).get(name) == folder.name:
            take_up(folder, self.published[name])
        self.found[name] = replicate(folder, range(count), function, self.scheduler, **settings)
        return self.found[name]


def read_replication() -> dict[str, Any]:
    """The published `Replication` as JSON values, or an `ArtifactError` if it is missing or damaged."""
    path = find_root() / PUBLISHED
    if not path.is_file():
        raise ArtifactError(f"{PUBLISHED} is missing; run `flowcal score` first.")
    replication: dict[str, Any] = _read(Replication, path)
    return replication


def _read(kind: type[Record], file: Path) -> Any:
    """The JSON value of a record in a file, or an `ArtifactError` that says what to do about it."""
    try:
        value = read_json(file)
        as_record(kind, value, file.name)
    except InputError as error:
        raise ArtifactError(f"{file} is damaged: {error} Delete it and run `flowcal score` again.") from error
    return value


def replicate(
    folder: Path,
    numbers: Sequence[int],
    function: Callable[..., dict[str, Any]],
    scheduler: str | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Judge systems on all cores or on a Dask cluster; those with a file in the folder are not judged again.

    The function is `judge`, or another that takes the system's number and the settings. What it returned is returned by
    number, for these systems and all others in the folder. If it fails for some systems, a `ReplicationError` is raised
    after all others have been judged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {number: folder / f"{number:03}.json" for number in numbers}
    missing = [number for number, file in files.items() if not file.exists()]
    failed = {}
    if missing:
        with _executor(scheduler, settings) as (executor, shared):
            code = running_digest()
            futures = {executor.submit(_judge, code, function, number, **shared): number for number in missing}
            for future in tqdm(as_completed(futures), total=len(missing), desc="systems", disable=None):
                if error := future.exception():
                    failed[futures[future]] = error
                else:
                    write_json(files[futures[future]], future.result())
    if failed:
        number, error = min(failed.items())
        raise ReplicationError(
            f"{len(failed)} of {len(files)} systems could not be judged, the first, number {number}, by "
            f"{type(error).__name__}: {error}. All others have been, and are kept; run it again for these."
        ) from error
    return [_read(Verdict, file) for file in sorted(folder.glob("[0-9]*.json"))]


def _judge(code: str, function: Callable[..., Any], number: int, **settings: Any) -> Any:
    """What a function says of a system, if it does so by the code with this digest."""
    if running_digest() != code:
        raise ReplicationError("a worker has another version of flowcal than this process; restart the older one.")
    return function(number, **settings)


@contextmanager
def _executor(scheduler: str | None, settings: Mapping[str, Any]) -> Iterator[tuple[Executor, Mapping[str, Any]]]:
    """Runs functions on a Dask cluster or on all cores, and the settings as it takes them."""
    if scheduler:
        from dask.distributed import Client

        with Client(scheduler) as client:
            shared = {name: client.scatter(value, broadcast=True) for name, value in settings.items()}
            yield client.get_executor(pure=False), shared
        return
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"  # inherited: one process per core leaves no core for more threads
    try:
        with worker_processes() as executor:
            yield executor, settings
    finally:
        del os.environ[THREADS]
        if before is not None:
            os.environ[THREADS] = before


def take_up(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put published verdicts, as `read_replication` gives them, where `replicate` looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        number = as_record(Verdict, row, "a verdict").number
        write_json(folder / f"{number:03}.json", row)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The replicated study in numbers, from what `judge` returned for at least one system."""

    def median(values: Iterable[float]) -> float:
        return float(np.median(list(values)))

    def mean(key: str, verdicts: Iterable[Mapping[str, Any]] = rows) -> float:
        return float(np.mean([verdict[key] for verdict in verdicts]))

    pooling, seconds = [row["pooling"] for row in rows], [row["seconds_e"] + row["seconds_f_a"] for row in rows]
    gain = np.array([row["log_density"] - row["pooling"]["log_density"] for row in rows if row["shape"] == "narrow"])
    tails = {}
    for place, probability in enumerate(TAIL):
        judged = [row["tail"][place] for row in rows]
        errors = ("log_error", "log_error_of_true_family")
        tails[f"{probability:g}"] = {
            **{f"median_{key}": median(abs(tail[key]) for tail in judged) for key in errors},
            "covered": sum(tail["covered"] for tail in judged),
        }
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None
    return {
        "systems": len(rows),
        "contains": sum(row["contains"] for row in rows),
        "median_volume": median(row["volume"] for row in rows),
        "median_simulations": median(row["simulations"] for row in rows),
        "median_seconds": median(seconds),
        "largest_seconds": max(seconds),
        "energy_distance": mean("energy_distance"),
        "energy_distance_of_direct_draws": mean("energy_distance_of_direct_draws"),
        "energy_distance_of_pooling": mean("energy_distance", pooling),
        "gain_over_pooling_narrow": None if error is None else [float(gain.mean()), error],
        "tail": tails,
    }


def verdict_folder(function: Callable[..., Any], settings: Mapping[str, Any]) -> Path:
    """Where verdicts are kept: code and settings name it, of networks how they were made.

    The digits of a network that is trained on another processor differ, and what is judged with it hardly does.
    """
    recipe = digest([code_digest([(function.__module__, function.__name__)]), dict(settings)])
    return find_root() / "artifacts" / "score" / recipe[:12]
