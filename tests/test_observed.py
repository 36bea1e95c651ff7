"""What the real system shows, and where from."""

import http.server
import threading
from functools import partial

import numpy as np
import pytest
from test_program import observed_text

from flowcal.challenge import BASELINE, TABLE_1
from flowcal.errors import InputError
from flowcal.simulate import observed as observations
from flowcal.simulate.observed import (
    BudgetSpent,
    FetchFailed,
    RealSystem,
    Source,
    fetch_organisers_file,
    observe,
    organisers_file,
    read_folder,
    read_organisers_file,
)
from flowcal.simulate.program import TableError
from flowcal.simulate.windfarm import WindFarm


def test_ten_points_of_a_hundred_hours_then_a_refusal():
    system = RealSystem()
    for asked, point in enumerate(TABLE_1, 1):
        hours = system.observe(point)
        assert hours.y.shape == (100, 60, 6)
        assert np.array_equal(hours.x_c, np.tile(point, (100, 1)))
        assert system.points_left == 10 - asked
    with pytest.raises(BudgetSpent, match=r"10 control points and shows no more; asked for was \(0.533, 0.666, 0.5\)"):
        system.observe(BASELINE)
    assert system.observe(TABLE_1[3]).y.shape == (100, 60, 6)  # a point already asked for costs nothing


def test_hours_do_not_depend_on_what_was_asked_before():
    first, second = RealSystem(), RealSystem()
    second.observe(TABLE_1[1])
    assert first.observe(TABLE_1[0]).identical(second.observe(TABLE_1[0]))
    assert not np.array_equal(first.observe(TABLE_1[0]).y, first.observe(TABLE_1[1]).y)


def test_what_was_shown_cannot_be_changed_from_outside():
    system = RealSystem()
    before = system.observe(BASELINE).copy(deep=True)
    system.observe(BASELINE).y.values[:] = 0
    assert system.observe(BASELINE).identical(before)
    assert RealSystem().observe((-0.0, 0.5, 0.5)).identical(RealSystem().observe((0.0, 0.5, 0.5)))


@pytest.mark.parametrize("point", [(0.5, 0.5), (0.5, 0.5, 1.01), (0.5, np.nan, 0.5), "abc", "010", 0.5])
def test_control_points_that_do_not_fit_are_refused(point):
    system = RealSystem()
    with pytest.raises(InputError, match=r"x_c .*expected (3 numbers in \[0, 1\]: X_c1, X_c2, X_c3|real numbers)"):
        system.observe(point)
    assert system.points_left == 10


def test_embedded_observations_are_table_1():
    observed = observe(Source())
    assert observed.y.shape == (1000, 60, 6)
    assert np.array_equal(observed.x_c[::100], TABLE_1)


def test_embedded_hours_resemble_the_organisers(check_data):
    ours, theirs = RealSystem().observe(BASELINE), read_organisers_file(check_data / "Y_out_example.csv")
    for statistic in (np.median, np.mean):
        means = [statistic(hours.y.values.mean(axis=1), axis=0) for hours in (ours, theirs)]
        np.testing.assert_allclose(means[0], means[1], rtol=0.2)


@pytest.fixture
def server(tmp_path):
    """A loopback server of a folder; gives the folder and its address."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture
def cache(monkeypatch, tmp_path, server):
    """The organisers' file as the loopback server has it, cached in a folder of its own."""
    monkeypatch.setattr(observations, "ORGANISERS_ADDRESS", server[1])
    monkeypatch.setenv("FLOWCAL_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_organisers_file_is_fetched_once_and_read(check_data, server, cache):
    (server[0] / "Y_out_example.csv").write_bytes((check_data / "Y_out_example.csv").read_bytes())
    assert organisers_file() is None
    path = fetch_organisers_file()
    assert path == organisers_file()
    assert path.parent == cache
    (server[0] / "Y_out_example.csv").unlink()
    assert fetch_organisers_file() == path
    observed = observe(Source("organisers"))
    assert observed.y.shape == (100, 60, 6)
    assert np.array_equal(observed.x_c[0], BASELINE)


def test_a_wrong_file_is_not_taken(server, cache):
    (server[0] / "Y_out_example.csv").write_text("something else")
    with pytest.raises(FetchFailed, match="does not match the known hash"):
        fetch_organisers_file()
    assert organisers_file() is None


def test_another_file_in_its_place_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWCAL_DATA", str(tmp_path))
    assert organisers_file() is None
    (tmp_path / "Y_out_example.csv").write_text("something else")
    with pytest.raises(FetchFailed, match="is not the organisers' file"):
        organisers_file()


def test_a_server_without_the_file_is_reported(server, cache):
    with pytest.raises(FetchFailed, match="could not be fetched from http://127.0.0.1.*404.*FLOWCAL_DATA"):
        fetch_organisers_file()


@pytest.fixture
def folder(tmp_path, runs):
    """Three and one hours at two control points."""
    y = WindFarm().simulate(runs[0][:4], runs[1][:4])
    (tmp_path / "first.csv").write_text(observed_text(y[:3]))
    (tmp_path / "second.csv").write_text(observed_text(y[3:]))
    index = "file,X_c1,X_c2,X_c3\nfirst.csv,0.1,0.2,0.3\n\nsecond.csv,0.4,0.5,0.6\n"
    (tmp_path / "control_points.csv").write_text(index)
    return tmp_path


def test_a_folder_of_hours_is_read(folder, runs):
    observed = observe(Source(str(folder)))
    assert np.array_equal(observed.y, WindFarm().simulate(runs[0][:4], runs[1][:4]))
    assert np.array_equal(observed.x_c, [[0.1, 0.2, 0.3]] * 3 + [[0.4, 0.5, 0.6]])


def test_byte_order_marks_are_skipped(folder):
    expected = read_folder(folder)
    for path in folder.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_folder(folder).identical(expected)


def test_identity_of_a_folder_follows_its_files(folder):
    before = Source(str(folder)).identity
    (folder / "notes.txt").write_text("no part of it")
    assert Source(str(folder)).identity == before
    (folder / "second.csv").write_text("other")
    assert Source(str(folder)).identity != before


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("file,X_c1,X_c2\n", "row 1, is 'file,X_c1,X_c2'; expected the header file,X_c1,X_c2,X_c3"),
        ("file,X_c1,X_c2,X_c3\n", "control_points.csv has no row below its header; expected one"),
        ("", "control_points.csv is empty"),
        ("file,X_c1,X_c2,X_c3\n   \n", "control_points.csv has no row below its header; expected one"),
        ("file,X_c1,X_c2,X_c3\n../first.csv,0.1,0.2,0.3\n", "row 2, .*the name of a file in the same folder"),
        ("file,X_c1,X_c2,X_c3\nfirst.csv,0.1,0.2\n", "control_points.csv, row 2, has 3 columns; expected 4"),
        ("file,X_c1,X_c2,X_c3\nfirst.csv,0,1,0,2,0,3\n", "control_points.csv, row 2, has 7 columns; expected 4"),
        ("file,X_c1,X_c2,X_c3\n\nfirst.csv,0.1,0.2,2\n", r"row 3, column 4, is '2'; expected a number in \[0, 1\]"),
        ("file,X_c1,X_c2,X_c3\nfirst.csv,0_1,0.2,0.3\n", "row 2, column 2, is '0_1'; expected a number"),
        ("file,X_c1,X_c2,X_c3\nabsent.csv,0.1,0.2,0.3\n", "absent.csv cannot be read"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(folder, index, said):
    (folder / "control_points.csv").write_text(index)
    with pytest.raises((InputError, TableError), match=said):
        read_folder(folder)


def test_a_source_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected 'embedded', 'organisers' or a folder with a control_points.csv"):
        Source(str(tmp_path))
