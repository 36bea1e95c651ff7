"""The command: exit codes, messages, and the organisers' protocol from the other side."""

import numpy as np
import pytest

from flowcal.cli import main
from flowcal.simulate.program import read_output, write_runs
from flowcal.simulate.windfarm import WindFarm


def test_simulate_writes_where_it_is_run(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "input.txt", runs[0][:5], runs[1][:5])
    assert main(["simulate", "input.txt"]) == 0
    assert np.array_equal(read_output(tmp_path / "Y_out.csv", 5), WindFarm().simulate(runs[0][:5], runs[1][:5]))


def test_simulate_writes_where_it_is_told(tmp_path, runs):
    write_runs(tmp_path / "input.txt", runs[0][:5], runs[1][:5])
    assert main(["simulate", str(tmp_path / "input.txt"), "--output", str(tmp_path / "there.csv")]) == 0
    assert read_output(tmp_path / "there.csv", 5).shape == (5, 60, 6)


def test_errors_are_one_sentence_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "input.txt").write_text("1,2,3\n")
    assert main(["simulate", str(tmp_path / "input.txt")]) == 1
    assert capsys.readouterr().err == "flowcal: input.txt, row 1, has 3 columns; expected 9.\n"
    assert main(["simulate", str(tmp_path / "absent.txt")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nonsense"], ["run", "--profil"]])
def test_wrong_command_lines_are_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: flowcal" in capsys.readouterr().err


def test_status_lists_every_chapter(in_project, capsys):
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "problem",
        "sensitivity",
        "observations",
        "aleatory",
        "epistemic",
        "shared",
        "intervals",
        "surrogate",
        "designs",
        "real_system",
        "other_truths",
        "scorecard",
    ]
    assert {line.split()[1] for line in lines} <= {"fresh", "stale", "not"}


def test_a_folder_to_write_to_has_to_be_there(tmp_path, runs, capsys):
    write_runs(tmp_path / "input.txt", runs[0][:5], runs[1][:5])
    assert main(["simulate", str(tmp_path / "input.txt"), "--output", str(tmp_path / "absent" / "y.csv")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["book", "publish", "pair"])
def test_chapters_that_were_not_run_are_not_rendered(verb, tmp_path, monkeypatch, capsys):
    for part in ("book/_static", "notebooks"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "_config.yml").touch()
    (tmp_path / "_toc.yml").write_text("chapters:\n  - file: notebooks/01_first\n")
    (tmp_path / "notebooks" / "01_first.py").write_text("# %%\nimport flowcal\n")
    monkeypatch.chdir(tmp_path)
    assert main([verb]) == 1
    assert "chapter 'first' has not been run; run 'flowcal run --profile quick' first" in capsys.readouterr().err


def test_chapters_that_are_not_published_are_not_rendered(tmp_path, monkeypatch, capsys):
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").touch()
    (tmp_path / "_toc.yml").write_text("chapters:\n  - file: notebooks/01_first\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_first.py").write_text("# %%\nimport flowcal\n")
    monkeypatch.chdir(tmp_path)
    assert main(["book", "--published"]) == 1
    assert "01_first.ipynb is missing; 'make full' makes the chapters" in capsys.readouterr().err


def test_scores_are_of_every_published_entry(in_project, capsys):
    assert main(["score", "--systems", "0"]) == 0
    printed = capsys.readouterr().out
    assert "Wang et al.: E holds the true X_e; volume 7.5e-03" in printed
    assert "Roy Sarkar et al.: E misses the true X_e; volume 1.6e-07" in printed
