"""Every reader of files fuzzed for some minutes; the book shows how many inputs it has met."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris")

FUZZ = Path(__file__).parents[1] / "fuzzing" / "fuzz_readers.py"
SECONDS = 125  # half an hour over all readers


def fuzz(*arguments, **options):
    return subprocess.run([sys.executable, FUZZ, *arguments], capture_output=True, text=True, **options)


def readers():
    """Those that the fuzzer lists when it is given none."""
    return re.search(r"readers are (.*)", fuzz().stderr)[1].split(", ")


@pytest.mark.parametrize("reader", readers())
def test_reader_meets_nothing_it_cannot_refuse(record, reader, tmp_path):
    run = fuzz(reader, str(SECONDS), cwd=tmp_path)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    inputs, seconds = map(int, re.search(r"Done (\d+) runs in (\d+) second", run.stderr).groups())
    record(f"fuzzed: {reader}", inputs=inputs, seconds=seconds)
    assert seconds >= SECONDS
