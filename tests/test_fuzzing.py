"""Whatever lies on disk: a reader gives what it documents or an error of ours, in bounded time and memory.

Files are spoiled at random, the same way in every run; `fuzzing/fuzz_readers.py` goes on from there for as long as
wanted.
"""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, examine, networks, spoiled

from flowcal.errors import InputError
from flowcal.files import WeightsError, read_json, read_weights
from flowcal.simulate.observed import read_folder
from flowcal.simulate.program import TableError, read_observed_hours, read_output, read_runs

QUICK = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
EXAMPLES = 1000

pytestmark = pytest.mark.filterwarnings("ignore")  # spoiled files may well be warned of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where each reader has a folder of its own, with room beside it for what must not be touched."""
    root = tmp_path_factory.mktemp("readers")
    return lambda name: root / name / "inside"


@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_read(name, folder):
    results = [examine(name, folder(name), content) for content in READERS[name].seeds()]
    assert results[0] is not None
    assert name == "index" or all(
        result is not None for result in results
    )  # its further seeds name what may not be read


@pytest.mark.parametrize("name", READERS)
def test_spoiled_files_are_read_or_refused(name, folder):
    seeds = READERS[name].seeds()

    @settings(QUICK, max_examples=EXAMPLES)
    @given(st.sampled_from(seeds), st.randoms(use_true_random=False))
    def survives(seed, rng):
        examine(name, folder(name), spoiled(seed, rng))

    survives()


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_refused(name, folder):
    @settings(QUICK, max_examples=30)
    @given(st.binary(max_size=300))
    def refuses(content):
        assert examine(name, folder(name), content) is None

    refuses()


# What has once come through as another error, a wrong result, a wait without end, or a file opened elsewhere


def changed(name, *place, value):
    """A valid JSON file of a reader with another value at a place, or without that place if the value is ABSENT."""
    whole = json.loads(READERS[name].seeds()[0])
    node = whole
    for key in place[:-1]:
        node = node[key]
    if value is ABSENT:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return json.dumps(whole).encode()


ABSENT = object()
DEEP = b"[" * 100_000
INDEX = "file,X_c1,X_c2,X_c3\n"

INDICES = {
    "a pipe": "pipe,0.1,0.2,0.3",
    "a folder": "inner,0.1,0.2,0.3",
    "no name": ",0.1,0.2,0.3",
    "the folder above": "..,0.1,0.2,0.3",
    "a file outside": "../outside.csv,0.1,0.2,0.3",
    "a null character": "first\0.csv,0.1,0.2,0.3",
    "a name too long": "x" * 300 + ",0.1,0.2,0.3",
    "a cell too long": "x" * 200_000 + ",0.1,0.2,0.3",
    "a file twice": "first.csv,0.1,0.2,0.3\nfirst.csv,0.1,0.2,0.4",
}


@pytest.mark.parametrize("rows", INDICES.values(), ids=INDICES)
def test_an_index_names_files_of_its_folder(rows, folder):
    assert examine("index", folder("index"), (INDEX + rows).encode()) is None


def test_nothing_is_unpacked(folder):
    """What NumPy takes for a packed file by its name is read as any other."""
    hours = examine("index", folder("index"), (INDEX + "table.csv.gz,0.1,0.2,0.3").encode())
    assert hours.sizes["sample"] == 2


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("hours", "output", "runs", "index")])
@pytest.mark.parametrize("content", [DEEP, b'{"a":' * 150 + b"1" + b"}" * 150, b"\xff", b"", b"7", b"null", b"{}"])
def test_json_of_another_shape_is_refused(name, content, folder):
    assert examine(name, folder(name), content) is None


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("FeaturePosterior", ("built_with", "layout", "width"), 10_000),  # with the next, 50 gigabytes
        ("FeaturePosterior", ("built_with", "layout", "coupling_layers"), 10_000),
        ("FeaturePosterior", ("built_with", "layout", "parameters"), 10_000),
        ("FeaturePosterior", ("built_with", "layout"), [1]),
        ("FeaturePosterior", ("built_with", "random_seed"), "1"),
        ("FeaturePosterior", ("built_with", "random_seed"), -1),
        ("FeaturePosterior", ("built_with", "random_seed"), [1, 2]),
        ("FeaturePosterior", ("built_with", "random_seed"), 1.5),
        ("FeaturePosterior", ("history", "seconds"), "abc"),
        ("FeaturePosterior", ("history", "held_out_loss"), 0.5),
        ("FeaturePosterior", ("history", "seconds"), [1.0]),
        ("FeaturePosterior", ("kind",), ["FeaturePosterior"]),
        ("HourPosterior", ("built_with", "architecture", "steps"), 1_000_000),
        ("HourPosterior", ("built_with", "architecture", "hidden"), [512] * 32),
        ("HourPosterior", ("built_with", "architecture", "heads"), 0),
        ("HourPosterior", ("built_with", "architecture", "parameters"), [["X_a1"]]),
        ("HourPosterior", ("built_with", "architecture"), None),
        ("TimeStepSurrogate", ("built_with", "width"), 10**6),
        ("TimeStepSurrogate", ("built_with",), []),
        ("CredibleSet", ("degree",), 7),
        ("CredibleSet", ("degree",), 10**9),
        ("CredibleSet", ("threshold",), 10**400),
        ("CredibleSet", ("threshold",), float("nan")),
        ("CredibleSet", ("threshold",), "0.5"),
    ],
)
def test_headers_of_weights_ask_for_what_the_weights_are(kind, place, value, folder):
    header = json.loads(json.dumps(networks()[kind].header))
    node = header
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    assert examine("header", folder("header"), json.dumps(header).encode()) is None


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("CredibleSet", "observed", lambda value: value[0]),
        ("CredibleSet", "observed", lambda value: value[:0]),
        ("CredibleSet", "coefficients", lambda value: value * np.nan),
        ("CredibleSet", "edges", lambda value: value * 1e200),
        ("CredibleSet", "corner", lambda value: value[:2]),
        ("FeaturePosterior", "mean", lambda value: value.astype(np.float32)),
        ("FeaturePosterior", "mean", lambda value: value.astype(np.int8)),
        ("FeaturePosterior", "mean", lambda value: value[None]),
        ("FeaturePosterior", "flow.couplings.transforms.0.mask", np.ones_like),
        ("FeaturePosterior", "flow.couplings.transforms.0.mask", lambda value: (3 * value.view(np.uint8)).view(bool)),
    ],
)
def test_weights_have_the_shapes_and_types_of_their_network(kind, name, change, folder):
    weights = networks()[kind]
    tensors = weights.tensors | {name: np.ascontiguousarray(change(weights.tensors[name]))}
    content = safetensors.numpy.save(tensors, {"flowcal": json.dumps(weights.header)})
    assert examine("weights", folder("weights"), content) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("clusters",), []),
        (("clusters",), 0.5),
        (("clusters", 0, "weight"), ABSENT),
        (("clusters", 0, "weight"), 0.5),
        (("clusters", 0, "weight"), float("nan")),
        (("clusters", 0, "weight"), 10**400),
        (("clusters", 0, "marginals"), [["Weibull", 0.9, -1.3]]),
        (("clusters", 0, "marginals", 0), ["Weibull", 0.9, -1.3, 1.0]),
        (("clusters", 0, "marginals", 0, 0), "Cauchy"),
        (("clusters", 0, "marginals", 0, 0), []),
        (("clusters", 0, "marginals", 0, 1), {}),
        (("clusters", 0, "marginals", 0, 1), 1e308),
        (("clusters", 0, "marginals", 0, 1), -1e18),
        (("clusters", 0, "marginals", 0), ["normal", 100.0, -5.0]),
        (("clusters", 0, "copula"), "Joe"),
        (("clusters", 0, "tau"), 1.0),
        (("clusters", 0, "tau"), {}),
    ],
)
def test_families_are_distributions(place, value, folder):
    assert examine("families", folder("families"), changed("families", *place, value=value)) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("systems", 0, "number"), "../../../outside"),  # it became the name of a file that was written
        (("systems", 0, "number"), "\0"),
        (("systems", 0, "number"), -1),
        (("systems", 0, "number"), 1.5),
        (("systems", 0, "number"), True),
        (("systems", 0, "number"), 10**400),
        (("systems", 0), 3),
        (("systems",), {"number": 1}),
        (("summary",), []),
        (("recipes",), "abc"),
        (("paper",), ABSENT),
    ],
)
def test_published_verdicts_are_numbered(place, value, folder):
    assert examine("replication", folder("replication"), changed("replication", *place, value=value)) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("problem_1", "best_guess_X_e", 0), float("nan")),  # which is neither below 0 nor above 1
        (("problem_2", "UM1", "performance_based_design", "X_c", 1), float("nan")),
        (("problem_2", "UM1", "performance_based_design", "J_interval", 1), float("inf")),
        (("problem_2", "UM1", "performance_based_design", "J_interval", 1), 10**400),
    ],
)
def test_results_are_finite(place, value, folder):
    assert examine("results", folder("results"), changed("results", *place, value=value)) is None


# Too large to be read


@pytest.mark.parametrize("read", [read_runs, read_observed_hours, lambda path: read_output(path, 1)])
def test_tables_that_are_no_files_or_too_large_are_refused(read, tmp_path):
    with pytest.raises(TableError, match="it is no file"):
        read(tmp_path)
    with pytest.raises(TableError, match="cannot be read"):
        read(tmp_path / "a\0b")
    path = tmp_path / "large.csv"
    path.write_text("y1,y2,y3,y4,y5,y6,sample_no\n")
    os.truncate(path, 10**10)
    with pytest.raises(TableError, match="10000000000 bytes; expected at most"):
        read(path)


def test_other_files_that_are_too_large_are_refused(tmp_path):
    for name in ("large.json", "large.safetensors", "control_points.csv"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 10**10)
    with pytest.raises(InputError, match="10000000000 bytes; expected at most"):
        read_json(tmp_path / "large.json")
    with pytest.raises(WeightsError, match="10000000000 bytes"):
        read_weights(tmp_path / "large.safetensors")
    with pytest.raises(InputError, match="10000000000 bytes"):
        read_folder(tmp_path)
