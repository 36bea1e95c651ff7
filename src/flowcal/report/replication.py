"""A replicated study: many synthetic real systems with known truths, each inferred anew and held against its own."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from flowcal.artifacts import ArtifactError, code_digest, digest
from flowcal.errors import FlowcalError, InputError
from flowcal.files import read_json
from flowcal.report.synthetic import TAIL, judge, judge_designs, judge_paper
from flowcal.study import PROFILES, Study, find_root

__all__ = [
    "ReplicationError",
    "read_replication",
    "replicate",
    "summarise",
    "take_up",
    "write_replication",
]


MOST_SYSTEMS = 1_000_000
PUBLISHED = Path("book", "published", "replication.json")
# In place of Dask's, whose MALLOC_TRIM_THRESHOLD_ slows the fits of f_a 2.7 times.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1}


class ReplicationError(FlowcalError):
    """Some systems could not be judged."""


def write_replication(
    systems: int, paper_systems: int, design_systems: int, scheduler: str | None = None
) -> dict[str, Any]:
    """Judge as many systems, inferred with the budgets of the `full` profile, and publish verdicts and summary as JSON.

    The chapters 'aleatory' and 'shared' have to have been run at `full`, for their networks serve all systems.

    Parameters
    ----------
    systems : int
        How many at least; those of an earlier call with the same code and settings, or published ones, are not judged
        again, and count.
    paper_systems : int
        On how many of them the paper's two steps are judged as well.
    design_systems : int
        For how many of them designs are made, with the `quick` profile's effort.
    scheduler : str, optional
        Address of a Dask scheduler.

    Returns
    -------
    dict
        What `summarise` returns.

    Raises
    ------
    ArtifactError
        If a chapter has to be run first.
    ReplicationError
        If some systems could not be judged.
    """
    study = Study("score", "full")
    budget, box = study.profile, {"simulator": study.simulator}
    ours = {
        "weights": study.read("shared", "estimator"),
        "rounds": budget.rounds,
        "draws": budget.population_draws,
        "replicates": budget.population_replicates,
    }
    modest = PROFILES["quick"]
    papers = {
        "weights": study.read("aleatory", "flow_fixed"),
        "runs": budget.epistemic_runs,
        "epochs": budget.epistemic_epochs,
        "held_out": budget.validation_hours,
    }
    designs = ours | {
        "size": modest.emulator_runs,
        "training": modest.emulator_training,
        "effort": modest.effort,
    }
    try:
        published = read_replication()
    except ArtifactError:  # judged for the first time
        published = {}
    rows, recipes = {}, {}
    estimator, flow = study.origin("shared", "estimator"), study.origin("aleatory", "flow_fixed")
    for name, function, count, settings, network in (
        ("systems", judge, systems, box | ours, estimator),
        ("paper", judge_paper, paper_systems, box | papers, flow),
        ("designs", judge_designs, design_systems, box | designs, estimator),
    ):
        folder = _folder(function, settings | {"weights": network})
        recipes[name] = folder.name
        if published.get("recipes", {}).get(name) == folder.name:
            take_up(folder, published[name])
        rows[name] = replicate(folder, range(min(systems, count)), function, scheduler, **settings)
    summary = summarise(rows["systems"])
    (find_root() / PUBLISHED).write_text(json.dumps({"summary": summary, "recipes": recipes} | rows, indent=1) + "\n")
    return summary


def read_replication() -> dict[str, Any]:
    """What `write_replication` kept last.

    Returns
    -------
    dict
        'summary'; 'systems', a verdict each; verdicts on the 'paper' and on 'designs'; 'recipes', what they were
        judged with.

    Raises
    ------
    ArtifactError
        If it is missing or damaged.
    """
    path = find_root() / PUBLISHED
    if not path.is_file():
        raise ArtifactError(f"{PUBLISHED} is missing; run `flowcal score` first.")
    kept = _read(path)
    if missing := {"summary", "systems", "paper", "designs"} - set(kept):
        raise ArtifactError(f"{PUBLISHED} has no {', '.join(sorted(missing))}; run `flowcal score` first.")
    for name in ("systems", "paper", "designs"):
        if not isinstance(kept[name], list) or not all(_is_verdict(row) for row in kept[name]):
            raise ArtifactError(f"{PUBLISHED} has {name!r} that are no list of verdicts; run `flowcal score` again.")
    for name in {"summary", "recipes"} & kept.keys():
        if not isinstance(kept[name], dict):
            raise ArtifactError(f"{PUBLISHED} has {name!r} that is no object; run `flowcal score` again.")
    return kept


def _is_verdict(row: Any) -> bool:
    """Whether this is an object with the number of a system; the number becomes the name of a file."""
    number = row.get("number") if isinstance(row, dict) else None
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MOST_SYSTEMS


def _read_verdict(file: Path) -> dict[str, Any]:
    row = _read(file)
    if not _is_verdict(row):
        raise ArtifactError(f"{file} is no verdict on a system; delete it and run `flowcal score` again.")
    return row


def _read(file: Path) -> dict[str, Any]:
    """A JSON object from a file, or an `ArtifactError` that says what to do about it."""
    try:
        kept = read_json(file)
    except InputError as error:
        raise ArtifactError(f"{file} cannot be read: {error} Delete it and run `flowcal score` again.") from error
    if not isinstance(kept, dict):
        raise ArtifactError(f"{file} holds no JSON object; delete it and run `flowcal score` again.")
    return kept


def replicate(
    folder: Path,
    numbers: Sequence[int],
    function: Callable[..., dict[str, Any]],
    scheduler: str | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Judge systems on all cores or on a Dask cluster; what is already in the folder is not judged again.

    Parameters
    ----------
    folder : Path
        Keeps a JSON file for every system, so that a study that was stopped goes on.
    numbers : sequence of int
        Of the systems.
    function : callable
        `judge`, or another that takes the system's number and the settings.
    scheduler : str, optional
        Address of a Dask scheduler; without, processes of this machine.
    **settings : any
        For the function.

    Returns
    -------
    list of dict
        What the function returned, by number, for these systems and all others in the folder.

    Raises
    ------
    ReplicationError
        If the function fails for some systems, after all others have been judged.
    """
    import dask
    from dask.distributed import Client, LocalCluster, as_completed

    folder.mkdir(parents=True, exist_ok=True)
    files = {number: folder / f"{number:03}.json" for number in numbers}
    missing = [number for number, file in files.items() if not file.exists()]
    failed = {}
    if missing:
        with dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
            cluster = None if scheduler else LocalCluster(threads_per_worker=1, dashboard_address=None)
        with Client(scheduler or cluster) as client:
            shared = {name: client.scatter(value, broadcast=True) for name, value in settings.items()}
            futures = {client.submit(function, number, **shared, pure=False): number for number in missing}
            for future in tqdm(as_completed(list(futures)), total=len(missing), desc="systems", disable=None):
                if error := future.exception():
                    failed[futures[future]] = error
                else:
                    _write(files[futures[future]], future.result())
                future.release()
        if cluster:
            cluster.close()
    if failed:
        number, error = min(failed.items())
        raise ReplicationError(
            f"{len(failed)} of {len(files)} systems could not be judged, the first, number {number}, by "
            f"{type(error).__name__}: {error}. All others have been, and are kept; run it again for these."
        ) from error
    return [_read_verdict(file) for file in sorted(folder.glob("[0-9]*.json"))]


def take_up(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put published verdicts, as `read_replication` gives them, where `replicate` looks for them.

    Parameters
    ----------
    folder : Path
    rows : sequence of mapping

    Raises
    ------
    InputError
        If a verdict has no number of a system.
    """
    if not all(_is_verdict(row) for row in rows):
        raise InputError(f"a verdict has no number of a system; expected a whole number from 0 to {MOST_SYSTEMS - 1}.")
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        _write(folder / f"{row['number']:03}.json", row)


def _write(file: Path, row: Mapping[str, Any]) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(row, indent=1) + "\n")
    draft.replace(file)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The replicated study in numbers, from what `judge` returned for its systems.

    Parameters
    ----------
    rows : sequence of mapping
        At least one.

    Returns
    -------
    dict
        JSON values, see the keys.
    """
    gain = np.array([row["log_density"] - row["pooling"]["log_density"] for row in rows if row["shape"] == "narrow"])
    tails = {
        f"{probability:g}": {
            "median_log_error": float(np.median([abs(row["tail"][place]["log_error"]) for row in rows])),
            "median_log_error_of_true_family": float(
                np.median([abs(row["tail"][place]["log_error_of_true_family"]) for row in rows])
            ),
            "covered": sum(row["tail"][place]["covered"] for row in rows),
        }
        for place, probability in enumerate(TAIL)
    }
    return {
        "systems": len(rows),
        "contains": sum(row["contains"] for row in rows),
        "median_volume": float(np.median([row["volume"] for row in rows])),
        "median_simulations": float(np.median([row["simulations"] for row in rows])),
        "median_seconds": float(np.median([row["seconds_e"] + row["seconds_f_a"] for row in rows])),
        "largest_seconds": max(row["seconds_e"] + row["seconds_f_a"] for row in rows),
        "energy_distance": float(np.mean([row["energy_distance"] for row in rows])),
        "energy_distance_of_direct_draws": float(np.mean([row["energy_distance_of_direct_draws"] for row in rows])),
        "energy_distance_of_pooling": float(np.mean([row["pooling"]["energy_distance"] for row in rows])),
        "gain_over_pooling_narrow": [float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))]
        if len(gain) > 1
        else None,
        "tail": tails,
    }


def _folder(function: Callable[..., Any], settings: Mapping[str, Any]) -> Path:
    """Where verdicts are kept: code and settings name it, of networks how they were made.

    The digits of a network that is trained on another processor differ, and what is judged with it hardly does.
    """
    recipe = digest([code_digest(function.__module__), function.__name__, dict(settings)])
    return find_root() / "artifacts" / "score" / recipe[:12]
