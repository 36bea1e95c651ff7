"""The organisers' text protocol, and programs that speak it: what works, and every way in which either can fail."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from faults import PYTHON_LINE

from flowcal.errors import InputError
from flowcal.simulate.campaign import CampaignIncomplete, Runner, run_campaign
from flowcal.simulate.program import (
    Executable,
    OutputMalformed,
    OutputMissing,
    OutputNotFinite,
    OutputShort,
    ProgramFailed,
    ProgramTimedOut,
    ShortTableError,
    TableError,
    read_observed_hours,
    read_output,
    read_runs,
    write_output,
    write_runs,
)
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm

HEADER = "y1,y2,y3,y4,y5,y6,sample_no"
FLOWCAL = [sys.executable, "-m", "flowcal", "simulate"]


@pytest.fixture
def hours(runs):
    x, seed = runs
    return WindFarm().simulate(x[:3], seed[:3])


def test_runs_read_back_unchanged(tmp_path, runs):
    write_runs(tmp_path / "input.txt", *runs)
    x, seed = read_runs(tmp_path / "input.txt")
    assert np.array_equal(x, runs[0])
    assert np.array_equal(seed, runs[1])


def test_runs_are_rows_of_nine_numbers(tmp_path):
    write_runs(tmp_path / "input.txt", np.full((1, 8), 0.1), np.array([10]))
    assert (tmp_path / "input.txt").read_text() == "0.1," * 8 + "10\n"


def test_runs_of_the_organisers_are_read(check_data):
    x, seed = read_runs(check_data / "local_model_baseline_input.txt")
    assert x.shape == (100, 8)
    assert seed[0] == 2057


def test_output_reads_back_unchanged(tmp_path, hours):
    write_output(tmp_path / "Y_out.csv", hours)
    assert np.array_equal(read_output(tmp_path / "Y_out.csv", 3), hours)


def test_output_of_the_organisers_is_read(check_data):
    y = read_output(check_data / "local_model_q1_Y_out.csv", 100)
    assert y[0, 0, 0] == 0.04174234244136936


@pytest.mark.parametrize(
    ("spoil", "error", "said", "bad_runs"),
    [
        (lambda rows: rows[:150], ShortTableError, "has 150 rows; expected 180, 60 for each of 3 runs", [2]),
        (lambda rows: [*rows[:150], rows[150][:20]], ShortTableError, "has 150 rows", [2]),
        (lambda rows: [], TableError, "is empty", None),
        (lambda rows: ["", " ", ""], TableError, "has no rows of numbers", None),
        (lambda rows: [*rows, rows[-1]], TableError, "more than the 180 rows", None),
        (lambda rows: [",".join(row.split(",")[1:]) for row in rows], TableError, "has 6 columns; expected 7", None),
        (lambda rows: [*rows[:9], rows[9] + ",1", *rows[10:]], TableError, "row 10, has 8 columns; expected 7", None),
        (lambda rows: [*rows[:9], "1,one,1,1,1,1,1", *rows[10:]], TableError, "row 10, column 2, is 'one'; exp", None),
        (lambda rows: [*rows[:9], "", "1,1,1,1,1,1_0,1", ""], TableError, "row 11, column 6, is '1_0'; exp", None),
        (lambda rows: [*rows[:60], *rows[120:], *rows[60:120]], TableError, "row 61, has the run number 3", [1, 2]),
        (
            lambda rows: [*rows[:60], *rows[:60], *rows[120:]],
            TableError,
            "run number 1; expected 2: 60 ro",
            [1, 2],
        ),
        (
            lambda rows: [*rows[:70], "1,1,-1,1,1,1,2", *rows[71:]],
            TableError,
            "row 71, y3, is -1.0; expected finite numbers from 0 up",
            [1],
        ),
        (lambda rows: [*rows[:70], "1,4,1,1,1,1,2", *rows[71:]], TableError, "y2, is 4.0; expected at most the ", [1]),
        (lambda rows: ["x" * 60_000], TableError, "has 60000 bytes; expected at most 50960", None),
    ],
)
def test_output_that_does_not_fit_is_refused(tmp_path, hours, spoil, error, said, bad_runs):
    path = tmp_path / "Y_out.csv"
    write_output(path, hours)
    path.write_text("\n".join(spoil(path.read_text().splitlines())))
    with pytest.raises(error, match=said) as caught:
        read_output(path, 3)
    assert (None if caught.value.bad_runs is None else caught.value.bad_runs.tolist()) == bad_runs


def test_powers_may_be_rounded_up(tmp_path, hours):
    write_output(tmp_path / "Y_out.csv", np.minimum(hours, 3.35 * (1 + 9e-7)))
    assert read_output(tmp_path / "Y_out.csv", 3).max() <= 3.350004


def test_a_run_that_is_cut_short_is_not_dropped(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("0.5," * 8 + "1\n" + "0.5,0.5")
    with pytest.raises(TableError, match="row 2, has 2 columns; expected 9"):
        read_runs(path)


def test_an_hour_that_is_cut_short_is_not_dropped(tmp_path, hours):
    path = tmp_path / "hours.csv"
    path.write_text(observed_text(hours) + "0.1,0.2")
    with pytest.raises(TableError, match="row 183, has 2 columns; expected 7"):
        read_observed_hours(path)


def test_a_folder_that_is_not_there_is_reported(tmp_path, hours):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_output(tmp_path / "absent" / "Y_out.csv", hours)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0.5,0.5,0.5,0.5,0.5,0.5,0.5,1.5,1", r"row 2, column 8, X_c3, is 1.5; expected a number in \[0, 1\]"),
        ("0.5,0.5,nan,0.5,0.5,0.5,0.5,0.5,1", "row 2, column 3, X_e1, is nan"),
        ("0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,1.5", "row 2, column 9, seed, is 1.5; expected a whole number in"),
        ("0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0", "row 2, column 9, seed, is 0.0"),
        ("0.5,0.5,0.5,0.5,0.5,0.5,0.5,,1", "row 2, column 8, is ''; expected a number"),
    ],
)
def test_runs_that_do_not_fit_are_refused(tmp_path, row, said):
    path = tmp_path / "input.txt"
    path.write_text("0.5," * 8 + "1\n" + row + "\n")
    with pytest.raises(TableError, match=rf"input.txt, {said}"):
        read_runs(path)
    with pytest.raises(TableError, match="cannot be read: No such file"):
        read_runs(tmp_path / "other.txt")


@pytest.mark.parametrize("text", ["{}\n", "{}", "{}\r\n", "\ufeff{}\n", " {} \n \n"])
def test_runs_are_read_in_the_forms_that_scripts_write(tmp_path, text):
    row = "0.1, 0.2,0.3,0.4,5.0e-1,0.533,0.666,0.5,4.2e1"
    (tmp_path / "input.txt").write_bytes(text.format(row).encode())
    x, seed = read_runs(tmp_path / "input.txt")
    assert x.tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5, 0.533, 0.666, 0.5]]
    assert seed.tolist() == [42]


def observed_text(hours, zero_row=True, first_number=0):
    rows = [HEADER] + (["0.0,0.0,0.0,0.0,0.0,0.0,0"] if zero_row else [])
    for number, hour in enumerate(hours, first_number):
        rows += [",".join(map(repr, minute.tolist())) + f",{number}" for minute in hour]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("zero_row", [True, False])
@pytest.mark.parametrize("first_number", [0, 1])
def test_observed_hours_are_read(tmp_path, hours, zero_row, first_number):
    (tmp_path / "hours.csv").write_text(observed_text(hours, zero_row, first_number))
    assert np.array_equal(read_observed_hours(tmp_path / "hours.csv"), hours)


def test_one_observed_hour_is_enough(tmp_path, hours):
    (tmp_path / "hours.csv").write_text(observed_text(hours[:1]))
    assert read_observed_hours(tmp_path / "hours.csv").shape == (1, 60, 6)


def test_the_organisers_hours_are_read(check_data):
    y = read_observed_hours(check_data / "Y_out_example.csv", 100)
    assert y.shape == (100, 60, 6)
    assert y[0, 0, 0] == 0.05999944525285754


def altered(hours, place, value):
    hours = hours.copy()
    hours[place] = value
    return hours


def test_columns_of_observed_hours_are_picked_by_name(tmp_path):
    """As the organisers' recipe for the real system's export does."""
    rows = ["\ufeffTime,StepCount,y1,y2,y3,y4,y5,y6,sample_no,note", "0,0,0,0,0,0,0,0,0,"]
    rows += [f"{60 * step},{step},1,2,3,100,50,40,0,calm" for step in range(1, 61)]
    (tmp_path / "hours.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    y = read_observed_hours(tmp_path / "hours.csv")
    assert y.shape == (1, 60, 6)
    assert y[0, 7].tolist() == [1, 2, 3, 100, 50, 40]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda h: observed_text(h).replace("y1", "z1"), "starts with 'z1.*expected a header with the columns y1,y2"),
        (lambda h: observed_text(h).replace("y2", "y1"), "expected a header with the columns"),
        (
            lambda h: observed_text(h).rsplit("\n", 2)[0],
            "has 179 rows of data, an all-zero first row not counted; expected 60",
        ),
        (lambda h: observed_text(h[:1]).rsplit("\n", 2)[0], "has 59 rows of data"),
        (lambda h: observed_text(h[:0]), "has 0 rows of data"),
        (lambda h: HEADER, "has no rows of numbers"),
        (lambda h: observed_text(h[:2]), "holds 2 hours; expected 3"),
        (
            lambda h: observed_text(altered(h, (1, 5, 4), np.nan)),
            "row 68, y5, is nan; expected finite numbers",
        ),
        (lambda h: observed_text(altered(h, (1, 5, 4), np.inf)), "row 68, y5, is inf"),
        (
            lambda h: observed_text(altered(h, (2, 0, 3), -1.0)),
            "row 123, y4, is -1.0; expected finite numbers from",
        ),
        (
            lambda h: observed_text(altered(h, (0, 9, 1), 3.36)),
            "row 12, y2, is 3.36; expected at most the ceil",
        ),
        (lambda h: observed_text(h, first_number=5), "row 3, has the run number 5; expected 1"),
    ],
)
def test_observed_hours_that_do_not_fit_are_refused(tmp_path, hours, make, said):
    (tmp_path / "hours.csv").write_text(make(hours))
    with pytest.raises(TableError, match=said):
        read_observed_hours(tmp_path / "hours.csv", 3)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", " \n"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_observed_hours_are_read_in_the_forms_that_programs_write(tmp_path, hours, end, quote, mark):
    rows = [[f"{quote}{cell}{quote}" for cell in row.split(",")] for row in observed_text(hours).splitlines()]
    text = mark + end.join(map(",".join, rows)) + end
    (tmp_path / "hours.csv").write_bytes(text.encode())
    assert np.array_equal(read_observed_hours(tmp_path / "hours.csv"), hours)


@pytest.mark.parametrize("zero_row", [True, False])
def test_an_hour_that_begins_calm_is_read(tmp_path, hours, zero_row):
    calm = hours.copy()
    calm[0, :5] = 0
    text = observed_text(calm, first_number=0, zero_row=zero_row)
    (tmp_path / "hours.csv").write_text(text)
    assert np.array_equal(read_observed_hours(tmp_path / "hours.csv"), calm)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("0,5", "row 2, has 8 columns; expected 7, separated by commas"),
        ("1_0", "row 2, column 3, is '1_0'; expected a number"),
        ("\u0661", "row 2, column 3, is '\u0661'; expected a number"),
        ("1.5D+02", "row 2, column 3, is '1.5D.02'; expected a number"),
        ("0x10", "row 2, column 3, is '0x10'; expected a number"),
        ("", "row 2, column 3, is ''; expected a number"),
        ("NA", "row 2, column 3, is 'NA'; expected a number"),
        ("1\0", "row 2, column 3, is '1.x00'; expected a number"),
        ('"1', "row 2, has a quotation mark without its other"),
        ("1e999", "row 2, y3, is inf; expected finite numbers from 0 up"),
        ("3350", "row 2, y3, is 3350.0; expected at most the ceiling, 3.35"),
    ],
)
def test_cells_that_are_no_numbers_are_named(tmp_path, hours, cell, said):
    header, first, *rows = observed_text(hours, zero_row=False).splitlines()
    cells = first.split(",")
    cells[2] = cell
    (tmp_path / "hours.csv").write_text("\n".join([header, ",".join(cells), *rows, ""]), encoding="utf-8")
    with pytest.raises(TableError, match=f"hours.csv, {said}"):
        read_observed_hours(tmp_path / "hours.csv")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "hours.csv").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(TableError, match="expected a header"):
        read_observed_hours(tmp_path / "hours.csv")
    with pytest.raises(TableError, match="row 1, has 1 columns; expected 7"):
        read_output(tmp_path / "hours.csv", 1000)


@pytest.fixture
def program(tmp_path):
    """Make a program of a Python body that is given `runs`, the rows of the input file."""

    def make(body):
        path = tmp_path / "model"
        path.write_text(
            f"{PYTHON_LINE}"
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
    simulator = Executable(program(""))
    before = simulator.identity
    assert Executable(program("")).identity == before
    assert Executable([str(program("")), "--fast"]).identity != before
    program("# changed")
    assert simulator.identity != before


def test_identity_follows_what_a_launcher_runs(program, tmp_path, monkeypatch):
    launcher = Executable(program(""))
    before = launcher.identity
    (tmp_path / "notes.txt").write_text("no part of it")
    assert launcher.identity == before
    for name in ("solver.so", "solver"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o755)
        assert launcher.identity != before
        before = launcher.identity
        (tmp_path / name).write_text("another version")
        assert launcher.identity != before
        before = launcher.identity
    monkeypatch.setenv("PATH", str(tmp_path))
    common = launcher.identity
    (tmp_path / "other").write_text("")
    (tmp_path / "other").chmod(0o755)
    assert launcher.identity == common


def test_the_same_program_at_another_place_is_another(program, tmp_path):
    path = program("")
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "model"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o755)
    assert Executable(copy).identity != Executable(path).identity


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
        ("rows.insert(0, 'y1,y2,y3,y4,y5,y6,sample_no')", OutputMalformed, "row 1, column 1, is 'y1'", range(4)),
        ("rows[130] = 'Traceback'", OutputMalformed, "row 131, has 1 columns; expected 7", range(4)),
        ("rows = rows[:60] + rows[120:] + rows[60:120]", OutputMalformed, "row 61, has the run number 3", range(1, 4)),
        ("rows[70] = rows[200] = '1,1,1,10,10,-1,{}'", OutputMalformed, "row 71, column 7", range(4)),
        ("rows[70] = '1,1,1,10,10,-1,2'; rows[200] = '1,1,1,1,1,-1,4'", OutputMalformed, "row 71, y6, is -1", [1, 3]),
        ("rows[70] = '3350,1,1,10,10,1,2'", OutputMalformed, "row 71, y1, is 3350.0; expected at most the ceil", [1]),
        ("rows[130] = '1,1,nan,10,10,10,3'", OutputNotFinite, "NaN or infinity", [2]),
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
    body = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(6000)"
    for limit in (1.5, 15, 150):  # enough for the child to start, even on a machine that is busy
        with pytest.raises(ProgramTimedOut, match=f"still running after {limit} s and was killed") as caught:
            Executable(program(body), limit).simulate(runs[0][:3], runs[1][:3])
        assert caught.value.rows.tolist() == [0, 1, 2]
        if alive.exists():
            break
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


def test_what_a_program_prints_without_end_fills_no_disk(program, runs, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    sizes = "sum(os.path.getsize(file) for file in os.listdir('.'))"
    body = f"for _ in range(1000): os.write(1, b'y' * 10**5)\nopen({str(tmp_path / 'size')!r}, 'w').write(str({sizes}))"
    Executable(program(body)).simulate(runs[0][:2], runs[1][:2])
    assert int((tmp_path / "size").read_text()) < 10_000


def test_a_program_that_hangs_costs_a_campaign_one_time_limit(tmp_path, runs):
    path = tmp_path / "model"
    path.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\nexec sleep 1000\n")
    path.chmod(0o755)
    with pytest.raises(CampaignIncomplete, match="ProgramTimedOut"):
        run_campaign(Executable(path, time_limit=0.5), runs[0][:200], runs[1][:200], Runner(chunk=20))
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize("hung", [[7], [3, 31]])
def test_runs_that_hang_are_told_from_the_others(program, tmp_path, hung):
    """A batch costs one time limit, a run that hangs alone two more, and all other runs are kept."""
    x, seed, marks = np.random.default_rng(1).random((60, 8)), np.arange(1, 61), tmp_path / "marks"
    path = program(
        f"if {{int(run.split(',')[-1]) for run in runs}} & {set(seed[hung].tolist())}:\n"
        f"    open({str(marks)!r}, 'a').write('x')\n    time.sleep(99)"
    )
    runner = Runner(folder=tmp_path / "campaigns", chunk=20)
    for _ in range(2):
        marks.write_text("")
        with pytest.raises(CampaignIncomplete, match="ProgramTimedOut") as caught:
            run_campaign(Executable(path, time_limit=1.0), x, seed, runner)
        assert {row for failure in caught.value.failures for row in failure.rows} == set(hung)
        assert len(marks.read_text()) <= 3 * len(hung)


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
    for command in ([], [sys.executable, "a\0b"]):
        with pytest.raises(InputError, match="expected a program, and no null character"):
            Executable(command)
    for limit in (0, -1.0, float("nan"), float("inf"), 1e99):
        with pytest.raises(InputError, match="time_limit is .*; expected seconds above 0"):
            Executable(sys.executable, time_limit=limit)


def test_what_a_program_says_holds_nothing_that_a_terminal_obeys(program, runs):
    body = r"print('\x1b]0;title\x07\x1b[2Jno\x9b licence\r\x08'); sys.exit(1)"
    with pytest.raises(ProgramFailed, match=r"it said: \]0;title\[2Jno licence \(runs"):
        Executable(program(body)).simulate(runs[0][:2], runs[1][:2])


def test_the_first_time_limit_is_told_at_once(program, runs, capfd, monkeypatch):
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with pytest.raises(ProgramTimedOut):
        Executable(program("time.sleep(1000)"), 0.5).simulate(runs[0][:2], runs[1][:2])
    assert "model was still running after 0.5 s and was killed\n" in capfd.readouterr().err


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_killed_takes_its_program_with_it(program, tmp_path, name):
    """However it is killed: a campaign of one's own has no command around it."""
    alive, temporary = tmp_path / "alive", tmp_path / "temporary"
    temporary.mkdir()
    path = program(f"while True: open({str(alive)!r}, 'w').write(str(time.time())); time.sleep(0.02)")
    code = f"from flowcal.simulate.program import Executable\nExecutable({str(path)!r}).simulate([[0.5] * 8], [1])"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temporary)})
    while not alive.exists():
        time.sleep(0.05)
    process.send_signal(name)
    process.wait()
    for _ in range(100):
        if not list(temporary.iterdir()):
            break
        time.sleep(0.1)
    assert list(temporary.iterdir()) == []
    last = alive.read_text()
    time.sleep(0.5)
    assert alive.read_text() == last
