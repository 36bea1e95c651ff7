"""The problem as data, against the paper's text where that is at hand."""

import re

import numpy as np
import pytest
from conftest import ROOT

from flowcal import challenge
from flowcal.challenge import BASELINE, CONTROL, INPUTS, OUTPUTS, PUBLISHED, SWEEP_BASE, TABLE_1, THRESHOLDS


@pytest.fixture(scope="module")
def paper():
    path = ROOT.parent / "shared" / "reference" / "paper.txt"
    if not path.exists():
        pytest.skip(f"the paper's text is not in {path.parent}")
    return path.read_text(encoding="utf-8")


def test_table_1_is_the_papers(paper):
    rows = re.findall(r"^(\d+)\t([\d.]+)\t([\d.]+)\t([\d.]+)$", paper, re.MULTILINE)
    assert [tuple(map(float, row[1:])) for row in rows] == list(TABLE_1)


def test_thresholds_and_base_point_are_the_papers(paper):
    assert "c_4 = 2750$, $c_5 = 2000$, $c_6 = 1000" in paper
    assert list(THRESHOLDS.values()) == [2750, 2000, 1000]
    base = re.search(r"X = \[([\d., ]+)\]", paper)[1]
    assert [float(number) for number in base.split(",")] == [*SWEEP_BASE, challenge.SWEEP_SEED]
    assert "X_c = [0.533, 0.666, 0.5]" in paper
    assert BASELINE == (0.533, 0.666, 0.5)


def test_published_boxes_are_the_papers(paper):
    rows = re.findall(r"X_\{e_\d\} \\in \[([\d.]+), ([\d.]+)\]\$\t([\d.]+)", paper)
    entry = PUBLISHED["Wang et al."]
    assert [tuple(map(float, row[:2])) for row in rows] == list(entry.x_e_intervals.values())
    assert tuple(float(row[2]) for row in rows) == entry.x_e_best


def test_published_designs_are_the_papers(paper):
    designs = PUBLISHED["Wang et al."].designs
    for problem in ("performance", "reliability"):
        assert f"X_c^* = {list(designs[problem].x_c)}" in paper
    table = re.findall(r"10\^\{-(\d)\}\$\t\[([\d.,]+)\]", paper)
    assert {f"epsilon 1e-{power}": point for power, point in table} == {
        problem: ",".join(map(str, design.x_c)) for problem, design in designs.items() if "epsilon" in problem
    }


def test_published_bounds_are_the_papers(paper):
    bounds = PUBLISHED["Wang et al."].prediction
    for alpha in (0.999, 0.95):
        for lower, upper in list(bounds[alpha].values())[3:]:
            assert f"{upper:g}" in paper
            assert f"{lower:g}" in paper


def test_every_entry_is_complete():
    for entry in PUBLISHED.values():
        assert entry.source
        assert entry.effort
        assert all(low <= high for low, high in entry.x_e_intervals.values())
        assert all(0 <= value <= 1 for design in entry.designs.values() for value in design.x_c)
        assert set(entry.prediction) == set(entry.prediction_reading) == {0.999, 0.95}


def test_table_1_is_a_latin_hypercube():
    assert all(len(set(column)) == 10 for column in np.transpose(TABLE_1))


def test_names_fit_together():
    assert len(INPUTS) == 8
    assert INPUTS[5:] == CONTROL
    assert set(THRESHOLDS) < set(OUTPUTS)
    assert list(challenge.OUTPUT_UNITS) == list(OUTPUTS)


def test_data_cannot_be_changed():
    with pytest.raises(TypeError):
        THRESHOLDS["y4"] = 1.0
    with pytest.raises(AttributeError):
        PUBLISHED["Wang et al."].source = "elsewhere"
