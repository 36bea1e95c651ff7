"""The command: exit codes, messages, and the organisers' protocol from the other side."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from flowcal.cli import main
from flowcal.errors import visible
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
    assert capsys.readouterr().err == "flowcal: input.txt, row 1, has 3 columns; expected 9, separated by commas.\n"
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
        "population",
        "intervals",
        "surrogate",
        "designs",
        "real_system",
        "other_truths",
        "scorecard",
        "readings",
        "imperfect",
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
    assert main(["score", "--systems", "0", "--readings", "0", "--boxes", "0"]) == 0
    printed = capsys.readouterr().out
    assert "Wang et al.: E holds the true X_e; volume 7.5e-03" in printed
    assert "Roy Sarkar et al.: E misses the true X_e; volume 1.6e-07" in printed


ON_A_PROGRAM = ["--simulator", f"executable:{sys.executable}"]
RUN = "0.1,0.2,0.3,0.4,0.5,0.533,0.666,0.5,42\n"


@pytest.fixture
def spoken(tmp_path, monkeypatch):
    """The working folder, with the runs of one hour in `input.txt` and an earlier hour in `Y_out.csv`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(RUN)
    (tmp_path / "Y_out.csv").write_text("an earlier hour\n")
    return tmp_path


@pytest.mark.parametrize("bad", ["1,2,3\n", RUN.replace("0.5,42", "1.0000000000000002,42"), "", None, "\0"])
def test_a_refused_run_leaves_no_earlier_output(spoken, bad):
    (spoken / "input.txt").unlink() if bad is None else (spoken / "input.txt").write_text(bad)
    assert main(["simulate", "input.txt"]) == 1
    assert not (spoken / "Y_out.csv").exists()


@pytest.mark.parametrize("bad", [True, False])
def test_an_output_that_is_a_link_is_replaced_and_not_followed(spoken, bad):
    (spoken / "precious").write_text("precious")
    (spoken / "Y_out.csv").unlink()
    (spoken / "Y_out.csv").symlink_to("precious")
    (spoken / "input.txt").write_text("1\n" if bad else RUN)
    assert main(["simulate", "input.txt"]) == int(bad)
    assert (spoken / "precious").read_text() == "precious"
    assert not (spoken / "Y_out.csv").is_symlink()
    assert (spoken / "Y_out.csv").exists() != bad


def test_the_runs_are_not_taken_for_the_output(spoken, capsys):
    (spoken / "link.csv").symlink_to("input.txt")
    for output in ("input.txt", "link.csv"):
        assert main(["simulate", "input.txt", "--output", output]) == 1
        assert "which holds the runs; expected another file" in capsys.readouterr().err
    assert (spoken / "input.txt").read_text() == RUN


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "--systems", "-5"], "expected a whole number from 0 up, got '-5'"),
        (["score", "--paper-systems", "1.5"], "expected a whole number from 0 up, got '1.5'"),
        (["score", "--systems", "0", "--scheduler", "nonsense"], "scheduler is 'nonsense'; expected an address"),
        (["run", "--scheduler", ""], "scheduler is ''; expected an address"),
        (["run", "--scheduler", "tcp://"], "expected an address such as tcp://host:8786"),
        (["run", "--time-limit", "5"], "--time-limit has no effect on the embedded box"),
        (["status", "--allow-failed", "0.1"], "--allow-failed has no effect on the embedded box"),
        (["status", "--allow-failed", "nan"], "--allow-failed"),
        (["status", "--scheduler", "tcp://host:8786"], "unrecognized arguments: --scheduler"),
        (["status", "--observations", ""], "observations are ''; expected"),
        (["status", "--simulator", ""], "simulator is ''; expected"),
        (["status", "--profile", "../full"], "profile is '../full'; expected one of quick"),
        (["book", "--published", "--profile", "full"], "--published renders what book/published keeps"),
        *(
            (["run", "--time-limit", bad, *ON_A_PROGRAM], "expected seconds above 0")
            for bad in ("0", "nan", "inf", "-1")
        ),
        *(
            (["status", "--allow-failed", bad, *ON_A_PROGRAM], "expected a number in [0, 1)")
            for bad in ("nan", "2", "-1")
        ),
    ],
)
def test_values_out_of_range_and_options_without_effect_are_refused(in_project, monkeypatch, capsys, words, said):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    try:
        code = main(words)
    except SystemExit as error:
        code = error.code
    assert code in (1, 2)
    assert said in capsys.readouterr().err


def test_nothing_that_a_terminal_obeys_is_printed(spoken, capsys):
    name = "\x1b[2J\x9b31m\x07evil.txt"
    (spoken / name).write_text("1\n")
    assert main(["simulate", name]) == 1
    said = capsys.readouterr().err
    assert "[2J31mevil.txt, row 1" in said
    assert said == visible(said)


def command(folder, words, redirection=""):
    """Exit code and error output of the command in a shell that redirects its streams."""
    shell = f'"$@" {redirection}'
    process = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "-", sys.executable, "-m", "flowcal", *words],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return process.returncode, process.stderr


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("| head -0", 128 + signal.SIGPIPE, ""),
        (">/dev/full", 1, "flowcal: No space left on device\n"),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_may_be_closed_or_full(project, redirection, code, said):
    assert command(project.folder, ["status"], redirection) == (code, said)


def test_files_are_not_mixed_up_with_closed_streams(spoken):
    assert command(spoken, ["simulate", "input.txt"], "<&- >&- 2>&-")[0] == 0
    assert read_output(spoken / "Y_out.csv", 1).shape == (1, 60, 6)


def test_a_full_disk_is_one_line_and_leaves_nothing(spoken):
    code, said = command(spoken, ["simulate", "input.txt"], "; exit $?")
    assert (code, said) == (0, "")
    limited = ["bash", "-c", 'ulimit -f 4; "$@"', "-", sys.executable, "-m", "flowcal", "simulate", "input.txt"]
    process = subprocess.run(limited, cwd=spoken, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (1, "flowcal: Y_out.csv cannot be written: File too large.\n")
    assert [path.name for path in spoken.iterdir()] == ["input.txt"]


def ended(process, name):
    """Signal a command's group as a terminal does; its exit code and what it said on its error output."""
    os.killpg(process.pid, name)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def running(mark):
    """Command lines of processes in whose environment a mark is."""
    found = []
    for folder in os.listdir("/proc"):
        try:
            with open(f"/proc/{folder}/environ", "rb") as environment, open(f"/proc/{folder}/cmdline") as line:
                if mark.encode() in environment.read():
                    found.append(line.read().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("at", ["started", "kernel", "program"])
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing_behind(project, name, at):
    model, temporary = project.folder / "model", project.folder / "temporary"
    temporary.mkdir()
    model.write_text("#!/bin/sh\ntouch ../../program\nsleep 1000 & sleep 1000\n")
    model.chmod(0o755)
    project.edit("first", "# %%\nfrom", "# %%\nfrom pathlib import Path\nPath('../kernel').touch()\nfrom")
    mark, streams = f"ended-{time.time_ns()}", {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-m", "flowcal", "run", "first", "--simulator", f"executable:{model}"],
        cwd=project.folder, env={**os.environ, "TMPDIR": str(temporary), "MARK": mark}, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), **streams,
    )  # fmt: skip
    if at == "started":
        assert process.stdout.readline() == "chapter first: started\n"
    else:
        project.wait_for(at)
    code, said = ended(process, name)
    if name == signal.SIGKILL:
        assert (code, said) == (-9, "")
    else:
        line = "interrupted" if name == signal.SIGINT else f"ended by {name.name}"
        assert (code, said) == (128 + name, f"flowcal: {line}\n")
    for _ in range(100):
        if not running(mark) and not list(temporary.iterdir()):
            break
        time.sleep(0.1)
    assert running(mark) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("arguments", [["status"], ["run", "--profile", "no-such"], ["--help"]])
def test_a_command_leaves_the_signals_of_its_process_as_they_were(arguments, project, capsys):
    """Else programs that are started later would inherit ignored ones, and could not be ended."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with suppress(SystemExit):
        main(arguments)
    assert [signal.getsignal(number) for number in numbers] == before
