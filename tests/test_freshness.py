"""A result shown as fresh is what today's text, code, settings, files and libraries give."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

from flowcal.chapters import Settings, states
from flowcal.cli import main
from flowcal.execution import run_chapters
from flowcal.simulate.sensitivity import seed_sweep
from flowcal.study import Study


def seen():
    """The state of each chapter."""
    return {name: found.state for name, found in states(Settings()).items()}


def run(*names):
    """Run chapters as the command does."""
    run_chapters(names, Settings())


FRESH = {"first": "fresh", "second": "fresh"}
PAUSE = """import pathlib, time
pathlib.Path("../reached").touch()
while not pathlib.Path("../go").exists():
    time.sleep(0.05)"""


def test_a_chapter_run_by_name_brings_what_it_reads_from_up_to_date(project):
    run()
    project.edit("first", "samples = 16", "samples = 32")
    assert seen() == {"first": "stale", "second": "stale"}
    run("second")
    assert seen() == FRESH
    assert project.printed("second").startswith("second reads 352\n")


def test_a_trial_in_an_open_notebook_is_no_result_of_the_text(project):
    run()
    trial = project.folder / "notebooks" / "trial.py"
    trial.write_text(project.chapters["first"].replace("samples = 16", "samples = 32"))
    exec(compile(trial.read_text(), str(trial), "exec"), {"__name__": "__main__"})
    assert seen() == {"first": "stale", "second": "stale"}
    run()
    assert seen() == FRESH
    assert project.printed("second").startswith("second reads 176\n")


def test_an_earlier_chapter_edited_during_a_run_makes_the_later_ones_stale(project):
    project.write("third", project.chapters["second"].replace("second", "third"))
    project.append("second", PAUSE)
    command = project.start("run")
    project.wait_for("reached")
    project.edit("first", "samples = 16", "samples = 32")
    (project.folder / "go").touch()
    command.communicate()
    assert seen() == {"first": "stale", "second": "stale", "third": "stale"}
    run()
    assert set(seen().values()) == {"fresh"}
    assert "third reads 352" in project.printed("third")


def test_code_edited_while_a_chapter_runs_is_not_stamped_on_its_result(project, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    project.edit("first", "kept = study.keep", f"{PAUSE}\nkept = study.keep")
    command = project.start("run", "first", env=environment)
    project.wait_for("reached")
    module = copy / "flowcal" / "simulate" / "sensitivity.py"
    text = module.read_text()
    assert "[0.025, 0.975]" in text
    module.write_text(text.replace("[0.025, 0.975]", "[0.05, 0.95]"))
    (project.folder / "go").touch()
    said, _ = command.communicate()
    assert command.returncode == 1
    assert "flowcal.simulate.sensitivity has changed since this process started; restart the kernel" in said
    assert not list(project.artifacts().rglob("indices.nc"))


def test_an_edited_execution_or_a_lost_artifact_is_not_fresh(project):
    run()
    executed = project.artifacts() / "first" / "chapter.ipynb"
    text = executed.read_text()
    executed.write_text(text.replace("runs 176", "runs 999"))
    assert states(Settings())["first"].reason == "its executed notebook has been edited"
    executed.write_text(text)
    assert seen() == FRESH
    (project.artifacts() / "first" / "indices.nc").unlink()
    assert seen() == {"first": "stale", "second": "stale"}


def test_helpers_and_data_beside_the_notebook_count(project):
    (project.folder / "notebooks" / "my_helper.py").write_text("FACTOR = 1")
    (project.folder / "notebooks" / "data.txt").write_text("10")
    project.append("first", "from my_helper import FACTOR\nprint('factor', FACTOR, open('data.txt').read())")
    run()
    for name, text, shown in (("my_helper.py", "FACTOR = 22", "factor 22 10"), ("data.txt", "20", "factor 22 20")):
        (project.folder / "notebooks" / name).write_text(text)
        assert seen()["first"] == "stale"
        run()
        assert shown in project.printed("first")


def test_files_read_by_the_study_count(project):
    (project.folder / "verdicts.json").write_text("1")
    project.append("first", "print('verdicts', study.read_file('verdicts.json').decode())")
    run("first")
    (project.folder / "verdicts.json").write_text("2")
    assert str(states(Settings())["first"].reason).endswith("verdicts.json has changed")
    run()
    assert "verdicts 2" in project.printed("first")


def test_data_that_comes_to_hand_counts(project, monkeypatch, check_data):
    monkeypatch.setenv("FLOWCAL_DATA", str(project.folder / "nothing"))
    project.append("first", "from flowcal.simulate.observed import organisers_file\nprint(organisers_file() is None)")
    run("first")
    assert seen()["first"] == "fresh"
    (project.folder / "nothing").mkdir()
    shutil.copy(check_data / "Y_out_example.csv", project.folder / "nothing")
    assert seen()["first"] == "stale"


def test_other_versions_of_libraries_count_for_chapters_and_artifacts(project):
    pins = project.folder / "requirements.txt"
    pins.write_text("scipy==1.15.0\n")
    run()
    before = (project.artifacts() / "first" / "indices.nc").stat().st_mtime_ns
    pins.write_text("scipy==1.99.0\n")
    assert seen() == {"first": "stale", "second": "stale"}
    run()
    assert (project.artifacts() / "first" / "indices.nc").stat().st_mtime_ns > before


def test_prose_makes_a_chapter_stale_and_recomputes_nothing(project):
    run()
    before = (project.artifacts() / "first" / "indices.nc").stat().st_mtime_ns
    project.edit("first", "# # First", "# # The first")
    assert seen() == {"first": "stale", "second": "stale"}
    run()
    assert seen() == FRESH
    assert (project.artifacts() / "first" / "indices.nc").stat().st_mtime_ns == before


def test_an_earlier_cell_run_again_in_a_live_notebook_recomputes_nothing(project):
    run("first")
    study = Study("second")
    study.keep("swept", seed_sweep, **study.box)
    before = (project.artifacts() / "second" / "swept.nc").stat().st_mtime_ns
    study.read("first", "indices")
    study.keep("swept", seed_sweep, **study.box)
    assert (project.artifacts() / "second" / "swept.nc").stat().st_mtime_ns == before


def test_a_second_command_in_the_folder_waits(project):
    project.append("first", PAUSE)
    one = project.start("run", "first")
    project.wait_for("reached")
    other = project.start("run", "first", "second")
    line = other.stdout.readline()
    assert "waiting for another command that is running chapter 'first' in this folder" in line
    (project.folder / "go").touch()
    for command in (one, other):
        said, _ = command.communicate()
        assert command.returncode == 0, said
        assert "Traceback" not in said
    assert seen() == FRESH


def test_reading_waits_for_a_chapter_that_runs(project):
    run("first")
    project.append("first", PAUSE)
    command = project.start("run", "first")
    project.wait_for("reached")
    code = "from flowcal.study import Study; print(Study('second').read('first', 'indices').attrs['runs'])"
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "waiting for chapter 'first', which is running\n"
    (project.folder / "go").touch()
    command.communicate()
    assert reader.communicate()[0] == "176\n"


def test_a_run_that_is_killed_leaves_nothing_that_is_trusted(project):
    run("first")
    project.append("first", "import pathlib, time\npathlib.Path('../reached').touch()\ntime.sleep(1000)")
    command = project.start("run", "first")
    project.wait_for("reached")
    command.kill()
    command.wait()
    assert seen() == {"first": "not run", "second": "not run"}


@pytest.fixture
def paired(project):
    """A project whose chapters have been run and paired; its first pair, and a function that edits one of its cells."""
    run()
    assert main(["pair"]) == 0
    pair = project.path("first").with_suffix(".ipynb")

    def edit(old, new):
        notebook = nbformat.read(pair, as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
        nbformat.write(notebook, pair)

    return pair, edit


def test_an_edit_of_a_paired_notebook_is_not_lost(project, paired, capsys):
    pair, edit = paired
    edit("samples = 16", "samples = 64")
    before = pair.read_bytes()
    for verb in ("status", "run"):
        assert main([verb]) == 0
        assert f"note: {pair} holds an edit that its text lacks" in capsys.readouterr().out
    assert main(["pair"]) == 1
    assert f"{pair} holds an edit that its text lacks" in capsys.readouterr().err
    assert pair.read_bytes() == before
    project.edit("first", "samples = 16", "samples = 32")  # now both have one
    run()
    assert main(["pair"]) == 1
    assert pair.read_bytes() == before
    project.edit("first", "samples = 32", "samples = 64")  # as jupytext does
    run()
    assert main(["pair"]) == 0
    assert "samples = 64" in pair.read_text()


@pytest.mark.parametrize("text", ["<<<<<<< ours\n", "", "[]", '{"cells": 3, "metadata": {}, "nbformat": 4}'])
def test_a_paired_notebook_that_is_none_is_not_overwritten(paired, text):
    paired[0].write_text(text)
    assert main(["status"]) == 0
    assert main(["pair"]) == 1
    assert paired[0].read_text() == text


def test_an_edit_of_the_text_is_brought_to_its_pair(project, paired, capsys):
    project.edit("first", "samples = 16", "samples = 32")
    run()
    assert main(["pair"]) == 0
    assert "note" not in capsys.readouterr().out
    assert "samples = 32" in paired[0].read_text()
    paired[0].unlink()
    assert main(["pair"]) == 0
    assert paired[0].exists()


def test_jupytext_finds_a_new_pair_in_step(project):
    shutil.copy(ROOT / "pyproject.toml", project.folder)
    run()
    assert main(["pair"]) == 0
    pair = project.path("first").with_suffix(".ipynb")
    stored = pair.read_bytes()
    subprocess.run([sys.executable, "-m", "jupytext", "--sync", str(project.path("first"))], check=True)
    assert pair.read_bytes() == stored


@pytest.mark.parametrize("toc", ["- file: docs/one", "- file: notebooks/01_mine"])
def test_another_book_is_not_the_project(tmp_path, monkeypatch, toc):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_mine.py").write_text("# %%\nopen('was_here', 'w')\n")
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: intro\nchapters:\n{toc}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 1
    assert not Path("notebooks/was_here").exists()
