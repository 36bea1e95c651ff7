"""Programs as simulators: the protocol against a real subprocess, and every way in which a program can fail."""

import os
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.simulate.program import (
    Executable,
    OutputMalformed,
    OutputMissing,
    OutputNotFinite,
    OutputShort,
    ProgramFailed,
    ProgramTimedOut,
)
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm

FLOWCAL = [sys.executable, "-m", "flowcal", "simulate"]


@pytest.fixture
def program(tmp_path):
    """Make a program of a Python body that is given `runs`, the rows of the input file."""

    def make(body):
        path = tmp_path / "model"
        path.write_text(
            f"#!{sys.executable}\n"
            "import os, sys, time\n"
            "runs = open(sys.argv[1]).read().splitlines()\n"
            "rows = [f'1,1,1,10,10,10,{run + 1}' for run in range(len(runs)) for minute in range(60)]\n"
            f"{body}\n"
            "open('Y_out.csv', 'w').write('\\n'.join(rows))\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_flowcal_simulate_is_a_drop_in_replacement():
    rng = np.random.default_rng(1)
    x, seed = rng.random((10_000, 8)), rng.integers(1, 2**31, 10_000)
    assert np.array_equal(Executable(FLOWCAL).simulate(x, seed), WindFarm().simulate(x, seed))


def test_four_workers_at_once_do_not_share_files(runs):
    x, seed = runs
    parts = np.array_split(np.arange(len(x)), 8)
    simulator = Executable(FLOWCAL)
    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda part: simulator.simulate(x[part], seed[part]), parts))
    assert np.array_equal(np.concatenate(pieces), WindFarm().simulate(x, seed))


def test_the_working_folder_is_private_and_removed(program, runs, tmp_path):
    simulator = Executable(program(f"open({str(tmp_path / 'where')!r}, 'a').write(os.getcwd() + '\\n')"))
    for _ in range(2):
        simulator.simulate(runs[0][:2], runs[1][:2])
    first, second = (tmp_path / "where").read_text().split()
    assert first != second
    assert not os.path.exists(first)
    assert not os.path.exists(second)


def test_is_a_simulator(program, runs):
    simulator = Executable(program(""))
    assert isinstance(simulator, Simulator)
    assert simulator.simulate(runs[0][:2], runs[1][:2]).shape == (2, 60, 6)
    assert simulator.simulate(np.empty((0, 8)), np.empty(0, int)).shape == (0, 60, 6)


def test_identity_follows_the_program(program):
    before = Executable(program("")).identity
    assert Executable(program("")).identity == before
    assert Executable(program("# changed")).identity != before
    assert Executable([str(program("")), "--fast"]).identity != before


@pytest.mark.parametrize(
    ("body", "error", "said", "rows"),
    [
        ("print('no licence'); sys.exit(3)", ProgramFailed, "exit code 3; it said: no licence", range(4)),
        ("os.kill(os.getpid(), 9)", ProgramFailed, "exit code -9; it said: nothing", range(4)),
        ("sys.exit(0)", OutputMissing, "left no Y_out.csv", range(4)),
        ("rows = rows[:150]", OutputShort, "150 rows; expected 240", range(2, 4)),
        ("rows = rows[:150] + ['1,1,1,1']", OutputShort, "150 rows; expected 240", range(2, 4)),
        ("rows = rows[:10]", OutputShort, "10 rows; expected 240", range(4)),
        ("rows = []", OutputMalformed, "is empty", range(4)),
        ("rows = rows + rows[:60]", OutputMalformed, "more than the 240 rows", range(4)),
        ("rows = [row[2:] for row in rows]", OutputMalformed, "6 columns; expected 7", range(4)),
        ("rows[130] = 'Traceback'", OutputMalformed, "not a table of 7 numbers", range(4)),
        ("rows = rows[:60] + rows[120:] + rows[60:120]", OutputMalformed, "gives run 1", range(1, 4)),
        ("rows[130] = '1,1,nan,10,10,10,3'", OutputNotFinite, "NaN or infinity", [2]),
        ("rows[70] = rows[200] = '1,1,1,10,-inf,10,{}'", OutputMalformed, "not a table", range(4)),
        ("rows[70] = '1,1,1,10,-inf,10,2'; rows[200] = '1,1,1,inf,1,1,4'", OutputNotFinite, "NaN or inf", [1, 3]),
    ],
)
def test_every_fault_has_its_own_error_and_names_its_rows(program, runs, body, error, said, rows):
    with pytest.raises(error, match=said) as caught:
        Executable(program(body)).simulate(runs[0][:4], runs[1][:4])
    assert type(caught.value) is error
    assert caught.value.rows.tolist() == list(rows)
    assert "runs concerned" in str(caught.value)


def test_a_hanging_program_is_killed_with_its_children(program, runs, tmp_path):
    alive = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(alive)!r}, 'w').write(str(time.time())); time.sleep(0.05)"
    body = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(ProgramTimedOut, match="still running after 1.5 s and was killed") as caught:
        Executable(program(body), time_limit=1.5).simulate(runs[0][:3], runs[1][:3])
    assert time.monotonic() - start < 10
    assert caught.value.rows.tolist() == [0, 1, 2]
    last = alive.read_text()
    time.sleep(0.5)
    assert alive.read_text() == last


def test_what_a_program_leaves_running_ends_with_it(program, runs, tmp_path):
    alive = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(alive)!r}, 'w').write(str(time.time())); time.sleep(0.02)"
    wait = f"\nwhile not os.path.exists({str(alive)!r}): time.sleep(0.02)"
    body = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]){wait}"
    assert Executable(program(body)).simulate(runs[0][:2], runs[1][:2]).shape == (2, 60, 6)
    last = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == last


def test_of_a_long_log_the_end_is_told(program, runs):
    with pytest.raises(ProgramFailed, match=r"it said: x{496}end \(runs"):
        Executable(program("print('x' * 10**7 + 'end'); sys.exit(1)")).simulate(runs[0][:2], runs[1][:2])


def test_a_program_that_cannot_start_is_reported(tmp_path, runs):
    path = tmp_path / "model"
    path.write_text("#!/nowhere/python\n")
    path.chmod(0o755)
    with pytest.raises(ProgramFailed, match="could not be started"):
        Executable(path).simulate(runs[0][:1], runs[1][:1])


def test_arguments_that_are_files_are_found_from_the_private_folder(program, runs, monkeypatch):
    path = program("")
    monkeypatch.chdir(path.parent)
    assert Executable([sys.executable, "model"]).simulate(runs[0][:2], runs[1][:2]).shape == (2, 60, 6)


def test_arguments_may_be_paths_of_what_is_not_there_yet(program, tmp_path):
    arguments = [tmp_path / "absent", tmp_path]
    simulator = Executable([program(""), *arguments])
    assert simulator.identity["arguments"] == " ".join(map(str, arguments))


def test_refuses_what_is_no_program(tmp_path):
    with pytest.raises(InputError, match="which is no executable program"):
        Executable(tmp_path / "absent")
    with pytest.raises(InputError, match="with a null character"):
        Executable([sys.executable, "a\0b"])
    with pytest.raises(InputError, match="time_limit is 0; expected seconds above 0"):
        Executable(sys.executable, time_limit=0)
