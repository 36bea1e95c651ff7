"""How large the package is, and how long a fresh clone takes to be run and tested; on an otherwise idle machine."""

import os
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "flowcal"


def test_size_of_the_package(measured):
    texts = [path.read_text() for path in PACKAGE.rglob("*.py")]
    lines = sum(len(text.splitlines()) for text in texts)
    docstrings = [found for text in texts for found in re.findall(r'^\s*"""(.*?)"""', text, re.M | re.S)]
    documented = sum(found.count("\n") + 1 for found in docstrings)
    measured({"house.lines": lines, "house.files": len(texts), "house.docstring_share": round(documented / lines, 3)})
    assert documented < lines


def test_a_fresh_clone_is_run_and_tested(tmp_path, measured):
    """The package index may be set by pip's own variables; `.ci/run` does the same where a Chromium is installed."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    environment.setdefault("FLOWCAL_CHECK_DATA", str(ROOT.parent / "shared" / "data"))
    minutes = []
    for target in ("book", "test"):
        start = time.perf_counter()
        subprocess.run(["make", target], cwd=clone, env=environment, check=True)
        minutes.append(round((time.perf_counter() - start) / 60, 1))
    measured({"minutes.book_quick": minutes[0], "minutes.test": minutes[1], "minutes.ci": round(sum(minutes), 1)})
    assert sum(minutes) < 90
