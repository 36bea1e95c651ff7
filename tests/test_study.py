"""The study as chapters see it, and the chapters as papermill runs them."""

import json
import shutil
import sys

import nbformat
import pytest
from conftest import ROOT

from flowcal import chapters
from flowcal.chapters import (
    ChapterFailed,
    Settings,
    find_chapters,
    read_provenance,
    run_chapters,
    select_chapters,
    state_of,
)
from flowcal.errors import InputError
from flowcal.report.book import BookError, build_book, publish
from flowcal.simulate.program import Executable
from flowcal.simulate.windfarm import WindFarm
from flowcal.study import PROFILES, ClaimFailed, Study, find_root

FIRST = """# %% [markdown]
# # First

# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0

# %%
from flowcal.simulate.sensitivity import seed_sweep
from flowcal.study import Study

study = Study("first", profile, simulator, observations, scheduler, allowed_share)
seeds = study.keep("seeds", seed_sweep, simulator=study.simulator, runner=study.runner)
print(seeds.sizes["seed"], "seeds at the profile", profile)
"""

SECOND = """# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0

# %%
from flowcal.study import Study

study = Study("second", profile, simulator, observations, scheduler, allowed_share)
seeds = study.read("first", "seeds")

# %%
study.claim("there are ten seeds", seeds.sizes["seed"] == 10)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two small chapters."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_first.py").write_text(FIRST)
    (tmp_path / "notebooks" / "02_second.py").write_text(SECOND)
    toc = "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/01_first\n  - file: notebooks/02_second\n"
    (tmp_path / "_toc.yml").write_text(toc)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "model"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def states():
    return [state_of(chapter, Settings())["state"] for chapter in find_chapters()]


def printed(path):
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.get("name") == "stdout")


def test_chapters_run_in_order_and_stay_fresh(project, capsys):
    assert states() == ["not run", "not run"]
    run_chapters([], Settings())
    assert states() == ["fresh", "fresh"]
    assert printed(project / "artifacts/quick/first/chapter.ipynb") == "10 seeds at the profile quick\n"
    assert printed(project / "artifacts/quick/second/chapter.ipynb") == "holds: there are ten seeds\n"
    before = (project / "artifacts/quick/first/chapter.json").stat().st_mtime_ns
    run_chapters([], Settings())
    assert "all chapters are fresh" in capsys.readouterr().out
    assert (project / "artifacts/quick/first/chapter.json").stat().st_mtime_ns == before


def test_kernels_are_talked_to_in_private(project):
    """Not through sockets in the working folder, where two runs would meet."""
    first = project / "notebooks" / "01_first.py"
    first.write_text(FIRST + "\n# %%\nfrom pathlib import Path\n\nprint(list(Path().glob('kernel*')))\n")
    run_chapters(["first"], Settings())
    assert printed(project / "artifacts/quick/first/chapter.ipynb").endswith("\n[]\n")


def test_progress_bars_are_not_kept(project):
    first = project / "notebooks" / "01_first.py"
    first.write_text(FIRST + "\n# %%\nimport sys\n\nprint('working', file=sys.stderr)\n")
    run_chapters(["first"], Settings())
    assert "working" not in (project / "artifacts/quick/first/chapter.ipynb").read_text().replace("print('working'", "")


def test_a_changed_chapter_makes_the_later_ones_stale(project):
    run_chapters([], Settings())
    source = project / "notebooks" / "02_second.py"
    source.write_text(source.read_text() + "\n# %%\nprint('more')\n")
    assert states() == ["fresh", "stale"]
    first = project / "notebooks" / "01_first.py"
    first.write_text(first.read_text() + "\n# %%\nprint('more')\n")
    assert states() == ["stale", "stale"]


def test_an_execution_that_is_gone_is_made_again(project):
    run_chapters(["first"], Settings())
    (project / "artifacts/quick/first/chapter.ipynb").unlink()
    assert states() == ["not run", "not run"]


def test_data_that_comes_to_hand_makes_chapters_stale(project, monkeypatch, check_data):
    monkeypatch.setenv("FLOWCAL_DATA", str(project / "nothing"))
    before = chapters._keys(Settings())
    monkeypatch.setenv("FLOWCAL_DATA", str(check_data))
    assert chapters._keys(Settings()) != before


def test_running_on_stale_chapters_is_said(project, capsys):
    run_chapters([], Settings())
    first = project / "notebooks" / "01_first.py"
    first.write_text(first.read_text() + "\n# %%\nprint('more')\n")
    run_chapters(["second"], Settings())
    assert "note: first are stale" in capsys.readouterr().out
    first.write_text(first.read_text() + "\n# %%\nprint('more still')\n")
    run_chapters(["first"], Settings())
    assert "note:" not in capsys.readouterr().out  # it reads nothing of the second's


def test_a_chapter_of_the_book_runs_on_a_program(project, tmp_path):
    """The first chapter on the embedded model behind the organisers' protocol: what holds there holds here."""
    (project / "notebooks" / "01_problem.py").write_bytes((ROOT / "notebooks" / "01_problem.py").read_bytes())
    (project / "_toc.yml").write_text("chapters:\n  - file: notebooks/01_problem\n")
    settings = Settings(simulator=f"executable:{sys.executable} -m flowcal simulate")
    run_chapters([], settings)
    shown = printed(settings.resolved().folder() / "problem" / "chapter.ipynb")
    assert "holds: an hour is bit-identical alone" in shown
    assert "does not hold here" not in shown
    assert len(list((project / "artifacts" / "campaigns").glob("*.zarr"))) == 1


def test_a_failing_chapter_shows_its_cell_and_keeps_the_rest(project):
    source = project / "notebooks" / "02_second.py"
    source.write_text(SECOND.replace("== 10", "== 11"))
    with pytest.raises(ChapterFailed) as caught:
        run_chapters([], Settings())
    partial = project / "artifacts/quick/second/chapter.partial.ipynb"
    assert "chapter 'second' stopped in cell 4" in str(caught.value)
    assert 'study.claim("there are ten seeds", seeds.sizes["seed"] == 11)' in str(caught.value)
    assert "ClaimFailed: the chapter says what is not so: there are ten seeds" in str(caught.value)
    assert str(partial) in str(caught.value)
    assert partial.exists()
    assert states() == ["fresh", "not run"]


def test_a_kernel_that_dies_is_reported(project):
    (project / "notebooks" / "02_second.py").write_text("# %%\nimport os\n\nos._exit(1)\n")
    with pytest.raises(ChapterFailed, match="chapter 'second' stopped: Kernel died"):
        run_chapters(["second"], Settings())


def test_a_chapter_alone_names_the_one_it_needs(project):
    with pytest.raises(ChapterFailed, match="first/seeds is missing; run chapter 'first' first"):
        run_chapters(["second"], Settings())


def test_profiles_and_simulators_have_artifacts_of_their_own(project, program):
    folders = {
        Settings().folder(),
        Settings(profile="full").folder(),
        Settings(simulator=f"executable:{program}").folder(),
    }
    assert len(folders) == 3
    assert Settings(scheduler="tcp://127.0.0.1:8786").folder() == Settings().folder()


def test_where_runs_happen_does_not_make_chapters_stale(project):
    assert chapters._keys(Settings()) == chapters._keys(Settings(scheduler="tcp://127.0.0.1:8786"))
    assert chapters._keys(Settings()) != chapters._keys(Settings(profile="full"))


def test_paths_hold_from_the_notebooks_folder(project, program):
    resolved = Settings(simulator="executable:model", observations="organisers").resolved()
    assert resolved.simulator == f"executable:{project / 'model'}"
    assert (
        Settings(simulator="executable:model --fast").resolved().simulator == f"executable:{project / 'model'} --fast"
    )
    assert resolved.observations == "organisers"
    assert Settings(observations="hours").resolved().observations == str(project / "hours")


def test_unknown_chapters_are_refused(project):
    assert [chapter.name for chapter in select_chapters(["second", "first"])] == ["first", "second"]
    with pytest.raises(InputError, match="there is no chapter third; expected names among first, second"):
        run_chapters(["third"], Settings())


def test_damaged_chapter_manifest_counts_as_not_run(project):
    run_chapters(["first"], Settings())
    (project / "artifacts/quick/first/chapter.json").write_text("[1")
    assert states() == ["not run", "not run"]


def test_study_takes_what_the_command_line_names(project, program):
    study = Study("first")
    assert isinstance(study.simulator, WindFarm)
    assert study.runner.folder is None
    other = Study("first", "full", f"executable:{program}", scheduler="tcp://127.0.0.1:8786")
    assert isinstance(other.simulator, Executable)
    assert other.profile == PROFILES["full"]
    assert other.runner.scheduler == "tcp://127.0.0.1:8786"
    assert other.runner.folder == project / "artifacts" / "campaigns"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"profile": "huge"}, "profile is 'huge'; expected one of quick, full"),
        ({"simulator": "windmill"}, "simulator is 'windmill'; expected 'windfarm' or 'executable:PATH'"),
        ({"simulator": "executable:"}, "expected 'windfarm' or 'executable:PATH'"),
        ({"simulator": "executable:it's"}, "cannot be split into words: No closing quotation"),
        ({"observations": "nowhere"}, "observations are 'nowhere'; needed is"),
    ],
)
def test_study_refuses_what_it_does_not_know(project, settings, said):
    with pytest.raises(InputError, match=said):
        Study("first", **settings)


def test_claims_fail_on_the_embedded_study_only(project, program, capsys):
    with pytest.raises(ClaimFailed, match="the chapter says what is not so: one is two"):
        Study("first").claim("one is two", False)
    Study("first", simulator=f"executable:{program}").claim("one is two", False)
    Study("first").claim("one is one", True)
    assert capsys.readouterr().out == "does not hold here: one is two\nholds: one is one\n"


def test_claims_that_need_the_full_budget_are_left_to_it(project, capsys):
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
    with pytest.raises(InputError, match=r"no _toc.yml in .* or above it; expected a folder of the project"):
        find_root()


def test_manifest_of_a_chapter_says_how_it_was_run(project):
    run_chapters(["first"], Settings())
    manifest = json.loads((project / "artifacts/quick/first/chapter.json").read_text())
    assert manifest["settings"]["profile"] == "quick"
    assert manifest["wall_time_s"] > 0
    shutil.rmtree(project / "artifacts")
    assert states() == ["not run", "not run"]


def test_an_execution_keeps_how_it_came_about(project):
    run_chapters([], Settings())
    (project / "artifacts" / "quick" / "scorecard.json").write_text("{}")
    publish(Settings())
    folder = project / "book" / "published"
    first, second = (
        read_provenance(nbformat.read(folder / f"{name}.ipynb", as_version=4)) for name in ("01_first", "02_second")
    )
    manifest = json.loads((project / "artifacts/quick/first/seeds.manifest.json").read_text())
    assert {name: made.sha256 for name, made in first.made.items()} == {"seeds": manifest["digest"]}
    assert (second.made, second.made_from) == ({}, {"first/seeds": manifest["digest"]})
    assert first.wall_time_s == state_of(find_chapters()[0], Settings())["wall_time_s"]


def test_a_spoiled_provenance_is_not_rendered(project):
    run_chapters([], Settings())
    (project / "artifacts" / "quick" / "scorecard.json").write_text("{}")
    publish(Settings())
    path = project / "book" / "published" / "01_first.ipynb"
    path.write_text(path.read_text().replace('"profile": "quick"', '"profile": ["quick"]'))
    for name in ("_config.yml", "book/index.md"):
        (project / name).write_text("")
    with pytest.raises(BookError, match="01_first.ipynb: the notebook's provenance cannot be used"):
        build_book(None)
