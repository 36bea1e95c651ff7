"""Thirty constants changed, one at a time: a chapter's stored outputs or the tests of a module have to notice.

A constant of a chapter is changed in its paired notebook, which nbval then runs against the stored outputs. A constant
of the package is changed in a copy, and the tests that stand for its module are run. It takes `make book` first.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
IN_CHAPTERS = [
    ("01_problem", "rng.random((2000, 5))", "0.7 * rng.random((2000, 5))"),
    ("01_problem", "tile(BASELINE", "tile(BASELINE[::-1]"),
    ("02_sensitivity", "sobol_base_samples = 2048", "sobol_base_samples = 16"),
    ("02_sensitivity", "abs(end / published - 1) < 0.05", "abs(end / published - 1) < 0.5"),
    ("02_sensitivity", "first == 0.3", "first == 0.5"),
    ("03_observations", "mirrored_pairs(table[:, 0], 0.4) == 4", "mirrored_pairs(table[:, 0], 0.5) == 4"),
    ("03_observations", '.mean("time") > 3.349', '.mean("time") > 2.5'),
    ("03_observations", "lags=11", "lags=8"),
    ("04_aleatory", "flow_epochs = 6", "flow_epochs = 1"),
    ("04_aleatory", "flow_runs = 4000", "flow_runs = 400"),
    ("05_epistemic", "LEVEL = 0.5", "LEVEL = 0.9"),
    ("08_intervals", "ALPHAS = (0.95, 0.999)", "ALPHAS = (0.9, 0.999)"),
    ("09_surrogate", "surrogate_epochs = 8", "surrogate_epochs = 2"),
    ("12_other_truths", '["pof"] > 0.99 * EPSILON', '["pof"] > 0.1 * EPSILON'),
    ("14_readings", 'row["volume"] <= 0.05', 'row["volume"] <= 0.5'),
]
IN_PACKAGE = [
    ("simulate/windfarm.py", "LAG = 0.9", "LAG = 0.91", "test_windfarm"),
    ("simulate/windfarm.py", "DIAMETER = 126.0", "DIAMETER = 127.0", "test_windfarm"),
    (
        "simulate/windfarm.py",
        "INNOVATION_SD, WHITE_SD = 0.8, 0.04, 0.04",
        "INNOVATION_SD, WHITE_SD = 0.8, 0.05, 0.04",
        "test_windfarm",
    ),
    ("simulate/control_points.py", "LEAST_RATE = 0.1", "LEAST_RATE = 0.5", "test_control_points"),
    ("simulate/campaign.py", "TRIES = 3", "TRIES = 1", "test_campaign"),
    ("infer/hour_features.py", "FEWEST_HOURS = 0.8", "FEWEST_HOURS = 0.3", "test_hour_features"),
    ("infer/models.py", "PADDING = 0.1", "PADDING = 0.5", "test_models"),
    ("infer/families.py", "PRIOR_WIDTH = 0.75", "PRIOR_WIDTH = 0.2", "test_families"),
    ("infer/um2_aleatory.py", "LAGS = (1, 2, 4, 8)", "LAGS = (1, 2, 3, 4)", "test_um2_aleatory"),
    ("infer/train.py", "WARM_UP = 0.05", "WARM_UP = 0.5", "test_train"),
    ("infer/um1.py", "FIXED_SEED = 10", "FIXED_SEED = 11", "test_um1"),
    ("decide/failure.py", "RULE_OF_THREE = 3.0", "RULE_OF_THREE = 2.0", "test_failure"),
    ("decide/failure.py", "DEFENSIVE = 0.1", "DEFENSIVE = 0.9", "test_failure"),
    ("decide/problems.py", "CREDIBILITY = 0.95", "CREDIBILITY = 0.5", "test_problems"),
    ("challenge.py", "RATED_POWER = 3.35", "RATED_POWER = 3.5", "test_challenge"),
]


def changed(text, before, after):
    """The text with a constant changed; it has to be there once, or more often the same way."""
    assert before in text, before
    return text.replace(before, after)


def passes(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with its results, where constants can be changed."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", "_build", ".git", "full*"))
    return folder


def test_thirty_changed_constants_are_noticed(copy, measured):
    missed = []
    for chapter, before, after in IN_CHAPTERS:
        path = copy / "notebooks" / f"{chapter}.ipynb"
        stored = path.read_text(encoding="utf-8")
        notebook = nbformat.read(path, as_version=4)
        sources = "".join(cell.source for cell in notebook.cells)
        assert before in sources, before
        for cell in notebook.cells:
            cell.source = cell.source.replace(before, after)
        nbformat.write(notebook, path)
        if passes(copy, "--nbval", "--nbval-current-env", f"notebooks/{chapter}.ipynb"):
            missed.append(f"{chapter}: {after}")
        path.write_text(stored, encoding="utf-8")
    for file, before, after, tests in IN_PACKAGE:
        path = copy / "src" / "flowcal" / file
        stored = path.read_text(encoding="utf-8")
        path.write_text(changed(stored, before, after), encoding="utf-8")
        if passes(copy, f"tests/{tests}.py"):
            missed.append(f"{file}: {after}")
        path.write_text(stored, encoding="utf-8")
    noticed = len(IN_CHAPTERS) + len(IN_PACKAGE) - len(missed)
    measured({"nbval.mutations_noticed_of_30": noticed})
    print("missed:", *missed, sep="\n")
    assert noticed >= 27, missed
