"""The study as chapters see it, and the chapters as papermill runs them."""

import json
import os
import re
import shlex
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError

from flowcal.artifacts import ArtifactError
from flowcal.chapters import (
    Settings,
    chapter_budget,
    find_chapters,
    read_source,
    select_chapters,
    states,
)
from flowcal.errors import InputError
from flowcal.execution import ChapterFailed, run_chapters
from flowcal.pace import SECONDS
from flowcal.provenance import read_provenance
from flowcal.simulate.program import Executable, ProgramTimedOut
from flowcal.simulate.sensitivity import sobol
from flowcal.simulate.windfarm import WindFarm
from flowcal.study import ClaimFailed, Study, find_root


@pytest.fixture
def full(project):
    """A profile of this name."""
    (project.folder / "profiles").mkdir()
    (project.folder / "profiles" / "full.yml").write_text("")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "model"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_chapters_run_in_order_and_stay_fresh(project, capsys):
    assert {found.state for found in states(Settings()).values()} == {"not run"}
    run_chapters([], Settings())
    assert {found.state for found in states(Settings()).values()} == {"fresh"}
    assert project.printed("second") == "second reads 176\nholds: there are nine sources\n"
    before = (project.artifacts() / "first/chapter.json").stat().st_mtime_ns
    run_chapters([], Settings())
    assert "all chapters are fresh" in capsys.readouterr().out
    assert (project.artifacts() / "first/chapter.json").stat().st_mtime_ns == before


def test_the_chapters_that_most_time_depends_on_start_first(project, capsys, monkeypatch):
    monkeypatch.setattr("flowcal.execution.AT_ONCE", 1)
    aside, on_third = project.chapters["first"].replace('"first"', '"aside"'), project.chapters["second"]
    project.write("aside", aside)
    project.write("last", on_third.replace('"second"', '"last"').replace('"first"', '"aside"'))
    notebook = nbformat.v4.new_notebook(metadata={SECONDS: 100.0})
    nbformat.write(notebook, project.path("last").with_suffix(".ipynb"))
    run_chapters([], Settings())
    started = re.findall("chapter (.*): started", capsys.readouterr().out)
    assert started == ["aside", "last", "first", "second"]


def test_artifacts_are_made_side_by_side_and_once(project, monkeypatch):
    study = Study("first")
    settings = {"base_samples": 8, "resamples": 2, **study.box}
    made = study.keep_all(sobol, {"one": {"random_seed": 1}, "two": {"random_seed": 2}}, **settings)
    monkeypatch.setattr("flowcal.study.worker_processes", None)
    again = study.keep_all(sobol, {"one": {"random_seed": 1}, "two": {"random_seed": 2}}, **settings)
    alone = {
        name: study.keep(f"{name}_alone", sobol, random_seed=seed, **settings)
        for name, seed in (("one", 1), ("two", 2))
    }
    assert all(made[name].identical(again[name]) and made[name].identical(alone[name]) for name in ("one", "two"))
    assert not made["one"].equals(made["two"])


def test_a_profile_sets_budgets_that_the_chapter_names(project):
    (project.folder / "profiles").mkdir()
    path = project.folder / "profiles" / "full.yml"
    path.write_text("first:\n  samples: 32\n")
    run_chapters(["first"], Settings(profile="full"))
    assert project.printed("first", "full") == "runs 352\n"
    assert chapter_budget("first", "full")["samples"] == 32
    assert chapter_budget("first", "quick")["samples"] == 16
    path.write_text("first:\n  sample: 32\n")
    with pytest.raises(InputError, match=r"full.yml sets sample for chapter 'first'; expected names that its cell"):
        run_chapters(["first"], Settings(profile="full"))


@pytest.mark.parametrize(
    "text", ["first: [", "- 1", "first: 3", "first: {1: 2}", "first: {N: !!python/name:os.system }", "\xff"]
)
def test_a_profile_that_is_none_is_one_sentence(project, text):
    (project.folder / "profiles").mkdir()
    (project.folder / "profiles" / "full.yml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"^full.yml [^\n]*expected[^\n]*$"):
        run_chapters(["first"], Settings(profile="full"))


@pytest.mark.parametrize(("text", "said"), [(b"x = (\n", "is no Python program"), (b"# \xe9\n", "cannot be read as a")])
def test_a_chapter_that_is_no_program_is_one_sentence(project, text, said):
    project.path("first").write_bytes(project.chapters["first"].encode() + text)
    with pytest.raises(InputError, match=f"^[^\n]*01_first.py {said}[^\n]*$"):
        run_chapters([], Settings())


def test_kernels_are_talked_to_in_private(project):
    """Not through sockets in the working folder, where two runs would meet."""
    project.append("first", "from pathlib import Path\n\nprint(list(Path().glob('kernel*')))")
    run_chapters(["first"], Settings())
    assert project.printed("first").endswith("\n[]\n")


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="the system has no list of open ports under /proc")
def test_no_kernel_listens_on_a_port(project):
    """Of the listening sockets of the system, none is the kernel's."""
    project.append(
        "first",
        "import os\nfrom pathlib import Path\n\n"
        "rows = [row.split() for name in ('tcp', 'tcp6') for row in open('/proc/self/net/' + name)]\n"
        "listening = {f'socket:[{row[9]}]' for row in rows if row[3] == '0A'}\n"
        "ours = {os.readlink(path) for path in Path('/proc/self/fd').iterdir() if path.is_symlink()}\n"
        "print('listening:', len(listening & ours))",
    )
    run_chapters(["first"], Settings())
    assert project.printed("first").endswith("listening: 0\n")


def test_the_kernel_is_of_this_interpreter_whatever_is_installed(project, monkeypatch):
    spec = project.folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/gone/python", "-f", "{connection_file}"], "display_name": "P"}')
    monkeypatch.setenv("JUPYTER_PATH", str(project.folder / "jupyter"))
    project.append("first", "import sys\n\nprint(sys.executable)")
    run_chapters(["first"], Settings())
    assert project.printed("first").endswith(f"{sys.executable}\n")


def test_the_kernel_has_the_surroundings_of_the_command(project, monkeypatch):
    """Relative names hold from the folder of the command; a namesake of the package beside the notebook is not run."""
    (project.folder / "sub" / "a b ü").mkdir(parents=True)
    monkeypatch.chdir(project.folder / "sub")
    monkeypatch.setenv("FLOWCAL_DATA", "data")
    monkeypatch.setenv("TMPDIR", "a b ü")
    monkeypatch.setattr(tempfile, "tempdir", None)
    (project.folder / "notebooks" / "flowcal").mkdir()
    (project.folder / "notebooks" / "flowcal" / "__init__.py").write_text("raise SystemExit")
    (project.folder / "notebooks" / "my_helper.py").write_text("WHERE = __file__")
    project.append("first", "import os, tempfile\nimport my_helper\nprint(os.getcwd(), os.environ['FLOWCAL_DATA'])")
    project.append("first", "print(tempfile.gettempdir())")
    run_chapters(["first"], Settings())
    sub = project.folder / "sub"
    assert project.printed("first").splitlines()[-2:] == [f"{project.folder}/notebooks {sub}/data", f"{sub}/a b ü"]
    assert os.getcwd() == str(sub)


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_long_name_of_the_temporary_folder_is_no_obstacle(project, monkeypatch, letter):
    """A socket's name may have 107 bytes."""
    long = project.folder / (60 * letter) / (60 * letter)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    project.append("first", "import ipykernel.kernelapp as app\nprint(app.IPKernelApp.instance().transport)")
    run_chapters(["first"], Settings())
    assert project.printed("first").endswith("\nipc\n")
    assert list(long.iterdir()) == []


def test_a_kernel_that_ends_has_nothing_to_complain_of(project):
    command = project.start("run")
    said, _ = command.communicate()
    assert [line.partition(":")[0] for line in said.splitlines()] == 2 * ["chapter first"] + 2 * ["chapter second"]


def test_a_kernel_that_does_not_start_is_reported(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ChapterFailed, match="chapter 'first' stopped: Kernel died before replying"):
        run_chapters(["first"], Settings())


def test_progress_bars_are_not_kept(project):
    project.append("first", "import sys\n\nprint('working', file=sys.stderr)")
    run_chapters(["first"], Settings())
    executed = (project.artifacts() / "first/chapter.ipynb").read_text()
    assert "working" not in executed.replace("print('working'", "")


def test_chapters_that_do_not_need_each_other_run_side_by_side(project):
    """Each waits for the other, which only two at a time can survive."""
    wait = "import pathlib, time\npathlib.Path('../{0}').touch()\nwhile not pathlib.Path('../{1}').exists():\n"
    project.append("first", wait.format("one", "other") + "    time.sleep(0.05)")
    third = project.chapters["first"].replace('"first"', '"third"')
    project.write("third", third.replace("../one", "../x").replace("../other", "../one").replace("../x", "../other"))
    run_chapters([], Settings())
    assert {found.state for found in states(Settings()).values()} == {"fresh"}


def test_a_chapter_of_the_book_runs_on_a_program(project):
    """The first chapter on the embedded model behind the organisers' protocol: what holds there holds here."""
    folder = project.folder
    (folder / "notebooks" / "01_problem.py").write_bytes((ROOT / "notebooks" / "01_problem.py").read_bytes())
    (folder / "_toc.yml").write_text("chapters:\n  - file: notebooks/01_problem\n")
    settings = Settings(simulator=f"executable:{shlex.quote(sys.executable)} -m flowcal simulate")
    run_chapters([], settings)
    shown = project.printed("problem", settings.resolved().folder().name)
    assert "holds: an hour is bit-identical alone" in shown
    assert "does not hold here" not in shown
    assert len(list((folder / "artifacts" / "campaigns").glob("*.zarr"))) == 1


def test_a_failing_chapter_shows_its_cell_and_keeps_the_rest(project):
    project.edit("second", "== 9", "== 10")
    with pytest.raises(ChapterFailed) as caught:
        run_chapters([], Settings())
    partial = project.artifacts() / "second/chapter.partial.ipynb"
    assert "chapter 'second' stopped in cell 4" in str(caught.value)
    assert 'study.claim("there are nine sources", kept.sizes["source"] == 10)' in str(caught.value)
    assert "ClaimFailed: the chapter claims what does not hold: there are nine sources" in str(caught.value)
    assert str(partial) in str(caught.value)
    assert partial.exists()
    assert [found.state for found in states(Settings()).values()] == ["fresh", "not run"]


def test_a_kernel_that_dies_is_reported(project):
    project.write("second", "# %%\nimport os\n\nos._exit(1)\n")
    with pytest.raises(ChapterFailed, match="chapter 'second' stopped: Kernel died"):
        run_chapters(["second"], Settings())


def test_reading_a_later_chapter_is_refused(project):
    with pytest.raises(InputError, match="chapter 'first' reads 'second'; expected one that stands before it"):
        Study("first").read("second", "x")


def test_what_is_missing_names_the_chapter_to_run(project):
    with pytest.raises(ArtifactError, match="first/indices is missing; run chapter 'first' first"):
        Study("second").read("first", "indices")


def test_profiles_and_simulators_have_artifacts_of_their_own(project, program, full):
    folders = {
        Settings().folder(),
        Settings(profile="full").folder(),
        Settings(simulator=f"executable:{program}").folder(),
    }
    assert len(folders) == 3
    assert Settings(scheduler="tcp://127.0.0.1:8786").folder() == Settings().folder()


def test_where_runs_happen_does_not_make_chapters_stale(project):
    run_chapters(["first"], Settings())
    assert states(Settings(scheduler="tcp://127.0.0.1:8786"))["first"].state == "fresh"


def test_paths_hold_from_the_notebooks_folder(project, program):
    resolved = Settings(simulator="executable:model", observations="organisers").resolved()
    assert resolved.simulator == f"executable:{project.folder / 'model'}"
    with_argument = Settings(simulator="executable:model --fast").resolved()
    assert with_argument.simulator == f"executable:{project.folder / 'model'} --fast"
    assert resolved.observations == "organisers"
    assert Settings(observations="hours").resolved().observations == str(project.folder / "hours")


def test_unknown_chapters_are_refused(project):
    assert [chapter.name for chapter in select_chapters(["second", "first"])] == ["first", "second"]
    with pytest.raises(InputError, match="there is no chapter third; expected names among first, second"):
        run_chapters(["third"], Settings())


def test_a_damaged_record_of_an_execution_counts_as_not_run(project):
    run_chapters(["first"], Settings())
    (project.artifacts() / "first/chapter.json").write_text("[1")
    assert states(Settings())["first"].state == "not run"


def test_study_takes_what_the_command_line_names(project, program, full):
    study = Study("first")
    assert isinstance(study.simulator, WindFarm)
    assert study.runner.folder is None
    other = Study("first", "full", f"executable:{program}", scheduler="tcp://127.0.0.1:8786")
    assert isinstance(other.simulator, Executable)
    assert other.profile == "full"
    assert other.runner.scheduler == "tcp://127.0.0.1:8786"
    assert other.runner.folder == project.folder / "artifacts" / "campaigns"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"profile": "huge"}, "profile is 'huge'; expected one of quick, full"),
        ({"simulator": "windmill"}, "simulator is 'windmill'; expected 'windfarm' or 'executable:PATH'"),
        ({"simulator": "executable:"}, "expected 'windfarm' or 'executable:PATH'"),
        ({"simulator": "executable:it's"}, "cannot be split into words: No closing quotation"),
        ({"observations": "nowhere"}, "observations are 'nowhere'; expected 'embedded'"),
        ({"observations": ""}, "observations are ''; expected 'embedded'"),
        ({"scheduler": "nonsense"}, "scheduler is 'nonsense'; expected an address such as tcp://host:8786"),
        ({"scheduler": ""}, "scheduler is ''"),
    ],
)
def test_study_refuses_what_it_does_not_know(project, full, settings, said):
    with pytest.raises(InputError, match=said):
        Study("first", **settings)


def test_the_time_limit_of_programs_is_handed_on(project, program, monkeypatch):
    monkeypatch.setenv("FLOWCAL_TIME_LIMIT", "0.5")
    program.write_text("#!/bin/sh\nsleep 1000\n")
    with pytest.raises(ProgramTimedOut, match=r"after 0.5 s"):
        Study("first", simulator=f"executable:{program}").simulator.simulate([[0.5] * 8], [1])
    monkeypatch.setenv("FLOWCAL_TIME_LIMIT", "soon")
    with pytest.raises(InputError, match="FLOWCAL_TIME_LIMIT is 'soon'; expected seconds"):
        Study("first", simulator=f"executable:{program}")


def test_claims_fail_on_the_embedded_study_only(project, program, capsys):
    with pytest.raises(ClaimFailed, match="the chapter claims what does not hold: one is two"):
        Study("first").claim("one is two", False)
    Study("first", simulator=f"executable:{program}").claim("one is two", False)
    Study("first").claim("one is one", True)
    assert capsys.readouterr().out == "does not hold here: one is two\nholds: one is one\n"


def test_claims_that_need_the_full_budget_are_left_to_it(project, full, capsys):
    Study("first").claim("one is two", False, at="full")
    assert capsys.readouterr().out == "left to the full profile: one is two\n"
    with pytest.raises(ClaimFailed, match="one is two"):
        Study("first", "full").claim("one is two", False, at="full")


def test_the_trainer_keeps_its_checkpoints_among_the_artifacts(project):
    study = Study("first")
    assert study.trainer.folder == study.folder / "checkpoints"
    assert study.trainer is study.trainer


def test_outside_the_project_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no _toc.yml in .* or above it lists notebooks of this study"):
        find_root()


def test_an_execution_keeps_how_it_came_about(project):
    run_chapters([], Settings())
    first, second = (
        read_provenance(nbformat.read(project.artifacts() / name / "chapter.ipynb", as_version=4))
        for name in ("first", "second")
    )
    digest = json.loads((project.artifacts() / "first/indices.manifest.json").read_text())["digest"]
    assert {name: (made.sha256, made.seed) for name, made in first.made.items()} == {"indices": (digest, 1)}
    assert (second.made, second.made_from) == ({}, {"first/indices": digest})
    assert first.wall_time_s == states(Settings())["first"].execution.wall_time_s


def test_a_number_that_agrees_with_the_stored_one_is_printed_like_it(project, program, capsys):
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text="a mean: 5.01 (± 1 %)\n")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), project.path("first").with_suffix(".ipynb"))
    study, elsewhere = Study("first"), Study("first", simulator=f"executable:{program}")
    for value in (5.05, 4.961, 5.07, 4.9, float("nan")):
        study.number("a mean", value, within=0.01)
    study.number("another", 5.05, within=0.01)
    elsewhere.number("a mean", 5.05, within=0.01)
    printed = [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["a mean: 5.01"] * 2 + [
        "a mean: 5.07",
        "a mean: 4.9",
        "a mean: nan",
        "another: 5.05",
        "a mean: 5.05",
    ]


def test_a_misspelt_parameter_stops_papermill(project):
    """Papermill itself only warns."""
    (chapter, _) = find_chapters()
    for name, expected in (("samples", "runs 352"), ("sampels", "there is no parameter sampels; expected names among")):
        options = {"parameters": {name: 32}, "kernel_name": "python3", "language": "python", "progress_bar": False}
        with pytest.raises(PapermillExecutionError) if name == "sampels" else nullcontext() as failed:
            papermill.execute_notebook(read_source(chapter), "out.ipynb", **options)
        assert expected in (str(failed.value) if failed else Path("out.ipynb").read_text())
