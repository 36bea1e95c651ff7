"""The command: exit codes, messages, and the organisers' protocol from the other side."""

import numpy as np
import pytest

from flowcal.cli import main
from flowcal.simulate.exchange import read_output, write_runs
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
    assert capsys.readouterr().err == "flowcal: input.txt has 3 columns; needed are 9.\n"
    assert main(["simulate", str(tmp_path / "absent.txt")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nonsense"], ["run", "--profile", "huge"]])
def test_wrong_command_lines_are_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: flowcal" in capsys.readouterr().err


def test_status_lists_every_chapter(in_project, capsys):
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["problem", "sensitivity", "observations"]
    assert {line.split()[1] for line in lines} <= {"fresh", "stale", "not"}


def test_book_of_a_profile_that_was_not_run_is_refused(in_project, capsys, tmp_path):
    assert main(["run", "unheard-of"]) == 1
    assert "there is no chapter unheard-of" in capsys.readouterr().err
