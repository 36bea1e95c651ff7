"""Whatever lies on disk: a reader gives what it documents or an error of ours, in bounded time and memory.

Files are spoiled at random, the same way in every run; `fuzzing/fuzz_readers.py` goes on from there for as long as
wanted.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, examine, spoiled

QUICK = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
EXAMPLES = {"dataset": 80, "weights": 150, "header": 150, "manifest": 100, "source": 100}


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
    )  # whose further seeds name what may not be read


@pytest.mark.parametrize("name", READERS)
def test_spoiled_files_are_read_or_refused(name, folder):
    seeds = READERS[name].seeds()

    @settings(QUICK, max_examples=EXAMPLES.get(name, 200))
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
