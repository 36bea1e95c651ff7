"""The text files: what is written reads back unchanged, and nothing else is taken."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.simulate.program import (
    OBSERVED_HEADER,
    ShortTableError,
    TableError,
    read_observed_hours,
    read_output,
    read_runs,
    write_output,
    write_runs,
)
from flowcal.simulate.windfarm import WindFarm


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
    ("spoil", "error", "said", "first_bad"),
    [
        (lambda rows: rows[:150], ShortTableError, "has 150 rows; expected 180, 60 for each of 3 runs", 2),
        (lambda rows: [*rows[:150], rows[150][:20]], ShortTableError, "has 150 rows", 2),
        (lambda rows: [], TableError, "is empty", 0),
        (lambda rows: [*rows, rows[-1]], TableError, "more than the 180 rows", 0),
        (lambda rows: [",".join(row.split(",")[1:]) for row in rows], TableError, "6 columns; expected 7", 0),
        (lambda rows: [*rows[:9], rows[9] + ",1", *rows[10:]], TableError, "not a table of 7 numbers a row", 0),
        (lambda rows: [*rows[:9], rows[9].replace("1", "one"), *rows[10:]], TableError, "not a table", 0),
        (lambda rows: [*rows[:60], *rows[120:], *rows[60:120]], TableError, "gives run 1 .* the numbers", 1),
        (lambda rows: [*rows[:60], *rows[:60], *rows[120:]], TableError, "gives run 1", 1),
        (lambda rows: ["x" * 60_000], TableError, "bytes, more than 180 rows", 0),
    ],
)
def test_output_that_does_not_fit_is_refused(tmp_path, hours, spoil, error, said, first_bad):
    path = tmp_path / "Y_out.csv"
    write_output(path, hours)
    path.write_text("\n".join(spoil(path.read_text().splitlines())))
    with pytest.raises(error, match=said) as caught:
        read_output(path, 3)
    assert caught.value.first_bad == first_bad


def test_a_run_that_is_cut_short_is_not_dropped(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("0.5," * 8 + "1\n" + "0.5,0.5")
    with pytest.raises(TableError, match="not a table of 9 numbers a row"):
        read_runs(path)


def test_an_hour_that_is_cut_short_is_not_dropped(tmp_path, hours):
    path = tmp_path / "hours.csv"
    path.write_text(observed_text(hours) + "0.1,0.2")
    with pytest.raises(TableError, match="not a table of 7 numbers a row"):
        read_observed_hours(path)


def test_a_folder_that_is_not_there_is_reported(tmp_path, hours):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_output(tmp_path / "absent" / "Y_out.csv", hours)


def test_runs_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("0.5,0.5,0.5,0.5,0.5,0.5,0.5,1.5,1\n")
    with pytest.raises(InputError, match=r"X_c3, is 1\.5"):
        read_runs(path)
    with pytest.raises(TableError, match="cannot be read: No such file"):
        read_runs(tmp_path / "other.txt")


def observed_text(hours, zero_row=True, first_number=0):
    rows = [OBSERVED_HEADER] + (["0.0,0.0,0.0,0.0,0.0,0.0,0"] if zero_row else [])
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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda h: observed_text(h).replace("y1", "z1"), "starts with 'z1.*expected the header"),
        (
            lambda h: observed_text(h).rsplit("\n", 2)[0],
            "has 179 rows of data, an all-zero first row not counted; expected 60",
        ),
        (lambda h: observed_text(h[:1]).rsplit("\n", 2)[0], "has 59 rows of data"),
        (lambda h: observed_text(h[:0]), "has 0 rows of data"),
        (lambda h: observed_text(h[:2]), "holds 2 hours; expected 3"),
        (lambda h: observed_text(altered(h, (1, 5, 4), np.nan)), "not finite in hour 1, minute 5, y5: nan"),
        (lambda h: observed_text(altered(h, (1, 5, 4), np.inf)), "not finite in hour 1, minute 5, y5: inf"),
        (lambda h: observed_text(altered(h, (2, 0, 3), -1.0)), "a negative value in hour 2, minute 0, y4: -1.0"),
        (lambda h: observed_text(altered(h, (0, 9, 1), 3.36)), "above the rated 3.35 MW in hour 0, minute 9, y2: 3.36"),
        (lambda h: observed_text(h, first_number=5), "gives run 0"),
    ],
)
def test_observed_hours_that_do_not_fit_are_refused(tmp_path, hours, make, said):
    (tmp_path / "hours.csv").write_text(make(hours))
    with pytest.raises(TableError, match=said):
        read_observed_hours(tmp_path / "hours.csv", 3)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "hours.csv").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(TableError, match="expected the header"):
        read_observed_hours(tmp_path / "hours.csv")
    with pytest.raises(TableError, match="not a table"):
        read_output(tmp_path / "hours.csv", 1000)
