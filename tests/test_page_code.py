"""What pages tell a reader to type: commands that there are, and code that runs and prints what the page shows."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from flowcal.chapters import Settings, find_chapters, select_chapters, states
from flowcal.cli import _parser
from flowcal.execution import run_chapters
from flowcal.files import read_record
from flowcal.report.book import draw_answer
from flowcal.report.scorecard import Scorecard
from flowcal.simulate.observed import Source, observe
from flowcal.study import make_simulator

BLOCK = re.compile(r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.M | re.S)
SHELL = re.compile(r"^```shell\n(.*?)^```$", re.M | re.S)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "book").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.py")),
]
EXTENDING = (ROOT / "book" / "extending.md").read_text(encoding="utf-8")
BLOCKS = {name: (code, shown) for name, code, shown in BLOCK.findall(EXTENDING)}


def calls(program):
    """What pages have their reader type, in shell blocks and within sentences, as words after the program's name."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", text)
        typed = {line for line in lines if re.match(rf"(\.venv/bin/)?{program} ", line)}
        for words in sorted({tuple(shlex.split(line, comments=True)[1:]) for line in typed}):
            found.append(pytest.param(words, id=f"{page.name}: {' '.join(words)}"))
    return found


@pytest.mark.parametrize("words", calls("flowcal"))
def test_commands_are_what_the_command_line_takes(words, in_project):
    options = _parser().parse_args(words)  # leaves by SystemExit where it does not know an option
    names = getattr(options, "chapters", [])
    assert {chapter.name for chapter in select_chapters(names)} == set(names)


@pytest.mark.parametrize("words", calls("make"))
def test_targets_are_those_of_the_makefile(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {word for word in words if "=" not in word} <= set(targets)


def test_pages_have_commands():
    assert len(calls("flowcal")) > 20
    assert len(calls("make")) > 10


def test_the_tutorial_changes_what_is_there_and_its_chapter_runs(tmp_path, monkeypatch, in_project):
    """The change that the page shows, made in a copy of the project after `make book`."""
    text = (ROOT / "book" / "tutorial.md").read_text(encoding="utf-8")
    ((was, becomes),) = re.findall(r"^-(.*)\n\+(.*)$", text, re.M)
    (changed,) = re.findall(r"^```\{code-block\} diff\n:caption: (\S+)$", text, re.M)
    lines = (ROOT / changed).read_text(encoding="utf-8").splitlines()
    assert lines.count(was) == 1
    lines[lines.index(was)] = becomes

    (chapter,) = [chapter for chapter in find_chapters() if chapter.source == ROOT / changed]
    if states(Settings())[chapter.name].state != "fresh":
        pytest.skip(f"the chapter {chapter.name} is not fresh; `make book` makes it so")
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copytree(ROOT / "artifacts" / "quick", tmp_path / "artifacts" / "quick")
    (tmp_path / changed).write_text("\n".join(lines) + "\n", encoding="utf-8")

    monkeypatch.chdir(tmp_path)
    run_chapters([chapter.name], Settings())
    assert volume_of_um_1(tmp_path) < volume_of_um_1(ROOT)


def volume_of_um_1(project):
    """Of the set E that the chapter on epistemic updating kept."""
    found = json.loads((project / "artifacts" / "quick" / "epistemic" / "um_1.json").read_text(encoding="utf-8"))
    return np.prod(np.subtract(found["high"], found["low"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all files of the page on extending."""
    folder = tmp_path_factory.mktemp("extending")
    for name, (code, _) in BLOCKS.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "toy_program.py"])
def test_code_prints_what_the_page_shows(folder, name):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # networks so small gain nothing from more threads
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 600}
    done = subprocess.run([sys.executable, name], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == BLOCKS[name][1]


def test_the_program_and_the_folder_go_into_the_study(folder, monkeypatch):
    """The page's last command, as far as what its options name."""
    command = next(call.values[0] for call in calls("flowcal") if "my_hours" in call.values[0])
    subprocess.run([sys.executable, "write_hours.py"], cwd=folder, check=True, capture_output=True)
    monkeypatch.chdir(folder)
    options = _parser().parse_args([word.replace(".venv/bin/python", shlex.quote(sys.executable)) for word in command])
    x, seed = np.random.default_rng(1).random((5, 8)), np.arange(1, 6)
    monkeypatch.syspath_prepend(folder)
    from toy import Toy

    assert np.array_equal(make_simulator(options.simulator).simulate(x, seed), Toy().simulate(x, seed))
    assert observe(Source(options.observations)).sizes["sample"] == 40


def test_limits_are_those_that_the_replicated_study_found():
    """The page names a shape and sizes in words; numbers are glued."""
    found = json.loads((ROOT / "book" / "published" / "replication.json").read_text())

    def tails(shape):
        return [tail for row in found["systems"] if row["shape"] == shape for tail in row["tail"]]

    def excess(shape):
        error, least = (
            np.median(np.abs([tail[key] for tail in tails(shape)])) for key in ("log_error", "log_error_of_true_family")
        )
        return error / least

    shapes = {row["shape"] for row in found["systems"]}
    assert all(excess("outside") > 1.5 * excess(shape) for shape in shapes - {"outside"})
    pofs = [row["credible"]["pof"] for row in found["designs"]]
    assert 1e-4 < max(pof for pof in pofs if pof is not None) < 1.5e-4


def test_the_picture_is_that_of_the_published_scorecard(tmp_path):
    card = read_record(Scorecard, ROOT / "book" / "published" / "scorecard.json")
    draw_answer(card, tmp_path / "answer.svg")
    assert (tmp_path / "answer.svg").read_text() == (ROOT / "book" / "images" / "answer.svg").read_text()
