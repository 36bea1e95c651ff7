"""Every reader of files fuzzed for some minutes; the book shows how many inputs it has met."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from readers import READERS

FUZZ = Path(__file__).parents[1] / "fuzzing" / "fuzz_readers.py"
SECONDS = 125  # half an hour over all readers


@pytest.mark.parametrize("reader", READERS)
def test_reader_meets_nothing_it_cannot_refuse(record, reader, tmp_path):
    pytest.importorskip("atheris")
    run = subprocess.run([sys.executable, FUZZ, reader, str(SECONDS)], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    inputs, seconds = map(int, re.search(r"Done (\d+) runs in (\d+) second", run.stderr).groups())
    record(f"fuzzed: {reader}", inputs=inputs, seconds=seconds)
    assert seconds >= SECONDS
