"""Which chapters start first, and how long is left."""

import nbformat
import pytest

from flowcal.pace import SECONDS, Pace, usual_seconds
from flowcal.provenance import Provenance, keep_provenance

USUAL = {"first": 10.0, "second": 30.0, "aside": 20.0, "last": 5.0}
READS = {"first": [], "second": ["first"], "aside": [], "last": ["second", "aside"]}


def test_a_chapter_counts_with_the_longest_chain_that_needs_it():
    assert Pace(USUAL, READS).to_end == {"last": 5, "aside": 25, "second": 35, "first": 45}


def test_what_is_left_follows_the_pace_of_this_machine():
    pace = Pace(USUAL, READS)
    assert pace.seconds_left(2) is None
    pace.finish("first", 20)
    assert pace.seconds_left(2) == pytest.approx(2 * 35)  # the chain
    assert pace.seconds_left(1) == pytest.approx(2 * 55)  # the work
    pace.finish("aside")
    pace.finish("second", 60)
    assert pace.seconds_left(2) == pytest.approx(2 * 5)
    pace.finish("last", 10)
    assert pace.seconds_left(2) == 0


def test_nothing_is_said_of_chapters_of_which_nothing_is_known():
    pace = Pace(USUAL | {"aside": 0.0}, READS)
    pace.finish("first", 20)
    assert pace.seconds_left(2) is None


def test_usual_seconds_come_from_pairs_and_published_chapters(tmp_path):
    pair, published = tmp_path / "pair.ipynb", tmp_path / "published.ipynb"
    assert usual_seconds(pair, published, "quick") == usual_seconds(pair, published, "full") == 0
    notebook = nbformat.v4.new_notebook()
    notebook.metadata[SECONDS] = 7.5
    nbformat.write(notebook, pair)
    keep_provenance(notebook, Provenance(version="1", profile="full", wall_time_s=90, made={}, made_from={}))
    nbformat.write(notebook, published)
    assert usual_seconds(pair, published, "quick") == 7.5
    assert usual_seconds(pair, published, "full") == 90
    assert usual_seconds(pair, published, "other") == 0
    pair.write_text("no notebook")
    assert usual_seconds(pair, published, "quick") == 0
