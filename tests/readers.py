"""Every reader of files, with valid files to start from, ways to spoil them, and what must hold whatever it is given.

`test_fuzzing.py` and `fuzzing/fuzz_readers.py` both feed these.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask.delayed  # noqa: F401, as importing it unpickles, which must not happen while readers are watched
import nbformat
import numpy as np
import safetensors.numpy
import torch
import xarray as xr
from conftest import ROOT
from test_benchmarks import RESULTS, rows
from test_export import shape_of
from test_scorecard import CARD, TABLES

from flowcal.artifacts import digest
from flowcal.challenge import ALEATORY, CONTROL, OUTPUTS
from flowcal.decide.paper import TimeStepSurrogate
from flowcal.decide.power import PowerEmulator
from flowcal.errors import FlowcalError, InputError
from flowcal.files import Weights, parse_json, read_json, read_record, read_weights
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.hour_posterior import Architecture, HourPosterior
from flowcal.infer.models import TurnedBox
from flowcal.infer.networks import FeaturePosterior, Layout
from flowcal.provenance import KEY, Made, Provenance, keep_provenance, read_provenance
from flowcal.report import benchmarks, replication
from flowcal.report import export as submission
from flowcal.report.book import closing_block
from flowcal.report.scorecard import Scorecard
from flowcal.simulate.observed import Source, read_folder
from flowcal.simulate.program import read_observed_hours, read_output, read_runs

try:
    import resource
except ImportError:  # not on Windows
    resource = None

SECONDS, MEGABYTES = 10, 1000  # that one input may take
NETWORKS = {kind.__name__: kind for kind in (FeaturePosterior, HourPosterior, PowerEmulator, TimeStepSurrogate)}
KINDS = NETWORKS | {"CredibleSet": CredibleSet}


@dataclass(frozen=True)
class Reader:
    """How a file is read.

    Attributes
    ----------
    seeds : callable
        Gives valid files.
    read : callable
        Puts a file's content down in a folder and reads it.
    check : callable
        Asserts that what was read is what the reader documents.
    prepare : callable
        Puts into a new folder what has to be there beside the file.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path, bytes], Any]
    check: Callable[[Any], None]
    prepare: Callable[[Path], None] = lambda folder: None


def examine(name: str, folder: Path, content: bytes) -> Any:
    """What a reader makes of a file, None where it refuses it; everything but a `FlowcalError` comes out.

    What it returns has to be valid, no file outside its folder is opened, nothing is unpickled, and time and memory
    stay within bounds.
    """
    reader = READERS[name]
    if not folder.exists():
        folder.mkdir(parents=True)
        reader.prepare(folder)
    start, memory = time.process_time(), _peak_memory()
    value, said = None, "nothing wrong"
    with watched(folder):
        try:
            value = reader.read(folder, content)
        except FlowcalError as error:
            said = str(error)
    assert said
    assert time.process_time() - start < SECONDS
    assert _peak_memory() - memory < MEGABYTES
    if value is not None:
        reader.check(value)
    return value


def _peak_memory() -> float:
    """Of this process, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000 if resource else 0.0


# What is opened and unpickled

_events: list[tuple[str, str]] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _events is not None and event in ("open", "pickle.find_class", "os.mkdir", "os.rename"):
        _events.append((event, os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""))


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Assert that no file beside the folder is opened or made in here, and that nothing is unpickled."""
    global _events
    hook()
    _events = []
    try:
        yield
    finally:
        events, _events = _events, None
    parent = os.path.realpath(folder.parent) + os.sep
    for event, path in events:
        assert event != "pickle.find_class", "something was unpickled"
        place = os.path.realpath(path.replace("\0", ""))
        inside = place.startswith(os.path.realpath(folder) + os.sep) or place == os.path.realpath(folder)
        assert inside or not (place + os.sep).startswith(parent), f"{event} of {path}"
        assert path not in ("/etc/passwd", "/dev/zero"), f"{event} of {path}"


@cache
def hook() -> None:
    """An audit hook, which stays until the process ends."""
    sys.addaudithook(_note)


# Spoiling

BYTES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b"\r", b",", b"-", b"nan", b"inf", b"1e999", b"9" * 400, b"0x1p3", b"1_0",
    b"[" * 2000, b'{"a":' * 2000, b'"', b"'", b"#", b"\xe2\x80\xa8", b"\x1f\x8b\x08", b"\\ud800", b"../", b" ", b";",
]  # fmt: skip
CELLS = [  # what a table may hold in place of a number
    *BYTES, b"", b"-0", b"+.5", b"5.", b"1e308", b"-1e308", b"9.96921e36", b"1e15", b"1.0000001e15", b"1e-400", b"-999",
    b"-9999", b"3351", b"3.35000335", b"3.36", b"2147483648", b"1.0000000000000002", b"0,5", b"0;5", b"1.000,5",
    b"1 000",
    b"0_5", b"\xd9\xa0.\xd9\xa5", b"\xef\xbc\x90.5", b"\xe0\xa5\xab", b"\xc2\xbd", b"\xe2\x88\x921", b"\xc2\xa00.5",
    b"1.5D+02", b"1.5d2", b"1.5+2", b"50%", b'"0.5"', b'"0.5', b'0.5"', b"'0.5'", b'"0,5"', b'""', b'"a""b"', b"=1+1",
    b"NA", b"None", b"True", b"#DIV/0!", b"1.#QNAN", b"1j", b"infinity", b"0b1", b"0o7", b"0.5\0", b"\xef\xbb\xbf0.5",
]  # fmt: skip
LINE_ENDS = [
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\n\r",
    b" \n",
    b",\n",
    b";\n",
    b"\0\n",
    b"\x0b",
    b"\x1e",
    b"\xe2\x80\xa8",
]
VALUES = [
    None, True, False, 0, -1, 1.5, 2**63, 10**400, -(10**18), float("nan"), float("inf"), 1e308, "", "x", "nan", "\0",
    "\ud800", "../../outside/x", "../outside/x", "/etc/passwd", "..", "a/b/c", "first/value", "second/more",
    "flowcal.__main__.x", "flowcal..x", "flowcal.cli", [], {}, [[]], [1, 2], {"x": 1}, "@DEEP@", "@DEEPER@", "x" * 300,
]  # fmt: skip


def spoiled(content: bytes, rng: random.Random) -> bytes:
    """A file with a few faults: in its bytes, its lines, or its JSON."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        content = rng.choice([_in_bytes, _in_bytes, _in_lines, _in_json, _in_json, _in_json])(content, rng)
    return content


def _in_bytes(content: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    end = min(end, start + rng.choice([1, 8, 10**9]))
    return rng.choice(
        [
            lambda: content[:start],
            lambda: content[:start] + content[end:],
            lambda: content[:end] + content[start:],
            lambda: content[:start] + rng.choice(BYTES) + content[start:],
            lambda: content[:start] + rng.choice(BYTES) + content[end:],
            lambda: content[:start] + bytes([rng.randrange(256)]) + content[start + 1 :],
            lambda: content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"])),
        ]
    )()


def _in_lines(content: bytes, rng: random.Random) -> bytes:
    """Another cell, row, column, order, separator, end of lines or header."""
    ends = rng.choice(LINE_ENDS)
    lines = content.split(b"\n")
    row = rng.choice([0, rng.randrange(len(lines))])
    cells = lines[row].split(b",")
    column = rng.randrange(len(cells))
    other = rng.choice([*CELLS, *cells])
    changed = rng.choice(
        [
            lambda: [],
            lambda: [lines[row]] * 2,
            lambda: [lines[row]] * 60,
            lambda: [b",".join([*cells[:column], other, *cells[column + 1 :]])],
            lambda: [b",".join([*cells[:column], other, *cells[column + 1 :]])],
            lambda: [b",".join([*cells[:column], other, *cells[column:]])],
            lambda: [b",".join(cells[:column] + cells[column + 1 :])],
            lambda: [b",".join(rng.sample(cells, len(cells)))],
            lambda: [b",".join(b'"' + cell + b'"' for cell in cells)],
            lambda: [rng.choice([b";", b"\t", b" ", b", ", b" ,"]).join(cells)],
            lambda: [b" , ".join(cells)],
            lambda: [b"", lines[row], b"  "],
            lambda: [b"# " + lines[row]],
        ]
    )()
    together = lines[:row] + changed + lines[row + 1 :]
    return rng.choice([ends, b"\n"]).join(together)


def _in_json(content: bytes, rng: random.Random) -> bytes:
    """Another value, name or place somewhere in the JSON; other content as it is."""
    try:
        value = parse_json(content.decode())
    except (ValueError, UnicodeDecodeError):
        return content
    nodes = [value]
    for node in nodes:
        nodes += [item for item in _items(node) if isinstance(item, dict | list)]
    node = rng.choice(nodes)
    other = rng.choice([*VALUES, value, rng.choice(nodes)])
    if not isinstance(node, dict | list) or not node:
        text = json.dumps(other)
    else:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        how = rng.choice(["value", "value", "value", "remove", "more", "name"])
        other = json.loads(json.dumps(other))  # no part of the value itself
        if how == "value":
            node[key] = other
        elif how == "remove":
            del node[key]
        elif isinstance(node, list):
            node.insert(key, other)
        elif how == "more":
            node[str(rng.choice(VALUES))] = other
        else:
            node[str(rng.choice(VALUES))] = node.pop(key)
        text = json.dumps(value)
    text = text.replace('"@DEEP@"', "[" * 200 + "]" * 200)
    return text.replace('"@DEEPER@"', "[" * 100_000 + "]" * 100_000).encode()


def _items(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


# Tables


def _hours(n: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, 60, 6)).round(3)


def _rows(y: np.ndarray, first: int = 0) -> list[str]:
    return [",".join(map(str, [*minute, number])) for number, hour in enumerate(y, first) for minute in hour]


def _observed() -> list[bytes]:
    rows = ["0.0,0.0,0.0,0.0,0.0,0.0,0", *_rows(_hours(2))]
    return ["\n".join(["y1,y2,y3,y4,y5,y6,sample_no", *part, ""]).encode() for part in (rows, rows[1:61])]


def _output() -> list[bytes]:
    return ["\n".join([*_rows(_hours(3), first), ""]).encode() for first in (0, 1)]


def _runs() -> list[bytes]:
    return [b"0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,1\n0,1,0.5,0.5,0.5,0.5,1e-300,0.25,2147483647\n", b"0,0,0,0,0,0,0,0,7"]


def _read_table(folder: Path, content: bytes, read: Callable[..., Any], *arguments: Any) -> Any:
    path = folder / "table.csv"
    path.write_bytes(content)
    return read(path, *arguments)


def _check_observed(y: np.ndarray) -> None:
    assert y.shape == (len(y), 60, 6)
    assert len(y) > 0
    assert ((y >= 0) & (y <= 1e15)).all()
    assert (y[:, :, :3] <= 3.35 * (1 + 1e-6)).all()


def _check_output(y: np.ndarray) -> None:
    assert y.shape == (3, 60, 6)
    assert not (y < 0).any()
    assert not (np.isfinite(y) & (y > 1e15)).any()
    assert not (y[:, :, :3][np.isfinite(y[:, :, :3])] > 3.35 * (1 + 1e-6)).any()


def _check_runs(runs: tuple[np.ndarray, np.ndarray]) -> None:
    x, seed = runs
    assert x.shape == (len(x), 8)
    assert seed.shape == (len(x),)
    assert ((x >= 0) & (x <= 1)).all()
    assert ((seed >= 1) & (seed < 2**31)).all()
    assert seed.dtype == np.int64


def _index() -> list[bytes]:
    names = ["first.csv", "second.csv", "inner", "pipe", "absent.csv", "table.csv.gz"]
    rows = [f"{name},0.1,0.2,{number / 10}" for number, name in enumerate(names)]
    header = "file,X_c1,X_c2,X_c3"
    indices = [rows[:1], rows[:2], *([row] for row in rows[2:]), ["../outside.csv,0,0,0"], ["..,0,0,0"]]
    return ["\n".join([header, *part, ""]).encode() for part in indices]


def _make_folder(folder: Path) -> None:
    """Files of hours, one of them outside, and what only looks like one."""
    for name in ("first.csv", "second.csv", "../outside.csv", "table.csv.gz"):
        (folder / name).write_bytes(_observed()[0])
    (folder / "inner").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")


def _read_index(folder: Path, content: bytes) -> xr.Dataset:
    (folder / "control_points.csv").write_bytes(content)
    try:
        identity = Source(str(folder)).identity
        assert len(identity["sha256"]) == 64
    except FlowcalError:
        pass
    return read_folder(folder)


def _check_folder(hours: xr.Dataset) -> None:
    _check_observed(hours.y.values)
    assert hours.x_c.shape == (hours.sizes["sample"], 3)
    assert ((hours.x_c >= 0) & (hours.x_c <= 1)).all()


# Weights


@cache
def networks() -> dict[str, Weights]:
    """Small networks of every kind, as weights."""
    posterior = FeaturePosterior(Layout(3, 2, width=4, coupling_layers=1), 1)
    small = {"coupling_layers": 1, "hidden": (4,), "width": 4, "encoder_layers": 1, "heads": 2, "feed_forward": 4}
    hours = HourPosterior(Architecture(ALEATORY, OUTPUTS, 60, CONTROL, "root", **small), 1)
    credible = CredibleSet(TurnedBox.whole(3), [0.5] * 3, np.eye(4)[:, 1:], 1, 2.0)
    parts = (
        posterior,
        hours,
        PowerEmulator(2, 6, 3, random_seed=1),
        TimeStepSurrogate(8, 60, 6, width=2, random_seed=1),
    )
    return {type(part).__name__: part.to_weights() for part in parts} | {
        "CredibleSet": credible.to_weights({"rounds": [1]})
    }


def _files_of_weights() -> list[bytes]:
    return [
        safetensors.numpy.save(weights.tensors, {"flowcal": json.dumps(weights.header)})
        for weights in networks().values()
    ]


def _headers() -> list[bytes]:
    return [json.dumps(weights.header).encode() for weights in networks().values()]


def _read_file_of_weights(folder: Path, content: bytes) -> tuple[Weights, Any]:
    path = folder / "kept.safetensors"
    path.write_bytes(content)
    weights = read_weights(path)
    return weights, _rebuilt(weights)


def _read_header(folder: Path, content: bytes) -> tuple[Weights, Any]:
    """A header in front of the tensors of the kind that it names, or of another where it names none."""
    path = folder / "kept.safetensors"
    text = content.decode("utf-8", "replace")
    try:
        kind = json.loads(text).get("kind")
    except (ValueError, AttributeError, RecursionError):
        kind = None
    weights = networks().get(str(kind), networks()["FeaturePosterior"])
    path.write_bytes(safetensors.numpy.save(weights.tensors, {"flowcal": text}))
    weights = read_weights(path)
    return weights, _rebuilt(weights)


def _rebuilt(weights: Weights) -> Any:
    kind = weights.header.get("kind")
    known = KINDS.get(kind if isinstance(kind, str) else "", PowerEmulator)
    return known.from_weights(weights, *[] if known is CredibleSet else ["cpu"])


def _check_network(read: tuple[Weights, Any]) -> None:
    weights, network = read
    again = network.to_weights(*[{}] if isinstance(network, CredibleSet) else [])
    assert digest(replace(again, header={})) == digest(replace(weights, header={}))
    assert all(np.isfinite(value).all() for value in again.tensors.values())
    if isinstance(network, CredibleSet):
        assert np.isfinite(network.threshold)
        inside = _unless_nan(lambda: network.contains(np.full((2, 3), 0.5)))
        assert inside is None or inside.shape == (2,)
        return
    history = network.history
    assert len(history) == len(history.training_loss) == len(history.seconds)
    if isinstance(network, FeaturePosterior):
        features = np.full((4, network.layout.features), 0.5)
        draws = _unless_nan(lambda: network.sample(3, features, np.random.default_rng(1)))
        assert draws is None or (draws.shape == (3, 4, network.layout.parameters) and np.isfinite(draws).all())
    assert isinstance(network, torch.nn.Module)


def _unless_nan(ask: Callable[[], np.ndarray]) -> np.ndarray | None:
    """The answer of a network, or None where its weights, all finite, are so large that it refuses to give NaN."""
    try:
        return ask()
    except InputError as error:
        if "the network gives NaN" not in str(error):
            raise
        return None


# JSON


def _families() -> list[bytes]:
    marginals = Marginal("Weibull", (0.9, -1.3)), Marginal("beta", (0.8, 2.2))
    clusters = (
        Cluster(0.25, marginals, "Frank", tau=0.2),
        Cluster(0.5, marginals[::-1], "Clayton", tau=-0.5),
        Cluster(0.25, (Marginal("normal", (0.4, -2.0)), Marginal("gamma", (1.0, -2.0)))),
    )
    whole = FamilyDistribution(clusters)
    one = FamilyDistribution((replace(clusters[0], weight=1.0),))
    return [json.dumps(each.to_dict()).encode() for each in (whole, one)]


def _check_families(f_a: FamilyDistribution) -> None:
    draws = f_a.sample(5, np.random.default_rng(1))
    assert draws.shape == (5, 2)
    assert ((draws >= 0) & (draws <= 1)).all()
    assert not np.isnan(f_a.log_prob([[0.3, 0.4]])).any()
    assert FamilyDistribution.from_dict(f_a.to_dict()) == f_a


def _results() -> dict[str, Any]:
    model = {
        "file_references": {"fa_samples": "a", "E_samples": "b"},
        "prediction_intervals": {
            f"alpha_{alpha}": {f"{output}_interval": [0.0, 1.5] for output in OUTPUTS} for alpha in submission.ALPHAS
        },
    }
    design = {"X_c": [0.1, 0.2, 0.3], "J_interval": [5, 6.0], "pof_interval": [0.0, 1e-3]}
    return {
        "info": "",
        "team_id": "",
        "problem_1": {"best_guess_X_e": [0.1, 0.2, 0.3]} | dict.fromkeys(submission.KEYS.values(), model),
        "problem_2": dict.fromkeys(submission.KEYS.values(), dict.fromkeys(submission.DESIGNS.values(), design)),
    }


def _check_results(results: dict[str, Any]) -> None:
    assert shape_of(results).keys() == shape_of(_results()).keys()
    for models in results["problem_2"].values():
        for design in models.values():
            assert all(0 <= value <= 1 for value in design["X_c"] + design["pof_interval"])
            assert 0 <= design["J_interval"][0] <= design["J_interval"][1] < float("inf")


def _check_tables(tables: dict[str, str]) -> None:
    """Every row of a table has as many cells as its header."""
    assert set(tables) == {*benchmarks.TABLES, "made_on"}
    for name, table in benchmarks.TABLES.items():
        assert all(len(row) == len(table.header) for row in rows(tables[name]))


def _replication() -> list[bytes]:
    """The published study, less most of its systems."""
    kept = json.loads((ROOT / "book" / "published" / "replication.json").read_text())
    return [json.dumps(kept | {name: kept[name][:2] for name in ("systems", "paper", "designs")}).encode()]


def _read_json(file: str, read: Callable[[Path], Any]) -> Callable[[Path, bytes], Any]:
    def put_and_read(folder: Path, content: bytes) -> Any:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return put_and_read


def _read_replication(path: Path) -> dict[str, Any]:
    root = path.parents[2]
    with patch.object(replication, "find_root", lambda: root):
        kept = replication.read_replication()
    for name in ("systems", "paper", "designs"):
        replication.take_up(root / "score", kept[name])
    return kept


def _check_replication(kept: dict[str, Any]) -> None:
    assert isinstance(kept["summary"], dict)
    assert isinstance(kept.get("recipes", {}), dict)
    assert all(row["number"] >= 0 for name in ("systems", "paper", "designs") for row in kept[name])
    if kept["systems"]:
        assert replication.summarise(kept["systems"])


def _provenances() -> list[bytes]:
    notebook = nbformat.v4.new_notebook()
    made = {
        "value": Made(sha256="0" * 64, seed=1, wall_time_s=2.5),
        "weights": Made(sha256="1" * 64, seed=None, wall_time_s=0.0),
    }
    times = {"version": "0.1.0", "profile": "quick", "wall_time_s": 12.5}
    keep_provenance(notebook, Provenance(**times, made=made, made_from={"first/value": "2" * 64}))
    return [json.dumps(notebook.metadata[KEY]).encode()]


def _read_provenance(path: Path) -> Provenance | None:
    return read_provenance(nbformat.v4.new_notebook(metadata={KEY: read_json(path)}))


def _check_provenance(provenance: Provenance) -> None:
    assert closing_block(provenance)
    assert all(len(made.sha256) == 64 for made in provenance.made.values())


def _check_scorecard(card: Scorecard) -> None:
    for table in TABLES:
        assert len({len(row) for row in rows(table(card))}) <= 1


def _check_verdicts(rows: list[Any]) -> None:
    assert len(rows) == 1
    assert isinstance(rows[0]["number"], int)


def _made_up() -> None:
    """In place of a function of the package; the row is there already."""


READERS = {
    "hours": Reader(_observed, lambda *a: _read_table(*a, read_observed_hours), _check_observed),
    "output": Reader(_output, lambda *a: _read_table(*a, read_output, 3), _check_output),
    "runs": Reader(_runs, lambda *a: _read_table(*a, read_runs), _check_runs),
    "index": Reader(_index, _read_index, _check_folder, _make_folder),
    "weights": Reader(_files_of_weights, _read_file_of_weights, _check_network),
    "header": Reader(_headers, _read_header, _check_network),
    "families": Reader(
        _families,
        _read_json("f_a.json", lambda path: FamilyDistribution.from_dict(read_json(path))),
        _check_families,
    ),
    "results": Reader(
        lambda: [json.dumps(_results()).encode()], _read_json("results.json", submission.read_results), _check_results
    ),
    "benchmarks": Reader(
        lambda: [json.dumps(RESULTS).encode()],
        _read_json("benchmarks.json", benchmarks.benchmark_tables),
        _check_tables,
    ),
    "replication": Reader(
        _replication, _read_json("book/published/replication.json", _read_replication), _check_replication
    ),
    "provenance": Reader(_provenances, _read_json("provenance.json", _read_provenance), _check_provenance),
    "scorecard": Reader(
        lambda: [json.dumps(CARD).encode()],
        _read_json("scorecard.json", partial(read_record, Scorecard)),
        _check_scorecard,
    ),
    "verdict": Reader(
        lambda: [b'{"number": 0, "shape": "plain"}'],
        _read_json("rows/000.json", lambda path: replication.replicate(path.parent, [0], _made_up)),
        _check_verdicts,
    ),
}
