"""The tables of the page Benchmarks: what is kept is shown, who wins is worked out, what does not fit is refused."""

import json
import re

import numpy as np
import pytest
from conftest import ROOT

from flowcal.errors import InputError
from flowcal.report.benchmarks import TABLES, benchmark_tables

POSTERIORS = {
    "simulations": 2700,
    "epochs": 6,
    "epochs_at_equal_time": {"ours": [6, 6, 6], "a": [4, 5, 4], "b": [7, 7, 6]},
    "simulations_per_second": {"ours": [900, 1000, 950], "a": [500, 510, 490], "b": [1000, 990, 980]},
    "at_equal_time": {"ours": [3.5, 3.6, 3.4], "a": [3.4, 3.5, 3.3], "b": [3.4, 3.7, 3.5]},
    "at_equal_epochs": {"ours": [3.5, 3.6, 3.4], "a": [3.6, 3.7, 3.5], "b": [3.5, 3.6, 3.4]},
}
METHODS = {
    "ours": {"bias": 0.001, "bias_error": 0.002, "variation": 0.01, "calls": 20000, "repeats": 60},
    "NAIS": {"bias": -0.004, "bias_error": 0.001, "variation": 0.005, "calls": 19998, "repeats": 20},
}
SEARCHES = {
    "a (1024)": {"method": "a", "budget": 1024, "quartiles": [0.0, 1e-9, 2e-3], "seeds": 20, "reached": 18},
    "b (1024)": {"method": "b", "budget": 1024, "quartiles": [0.0, 1e-9, 2e-3], "seeds": 20, "reached": 20},
    "a (2000)": {"method": "a", "budget": 2000, "quartiles": [0.0, 0.0, 0.0], "seeds": 20, "reached": 19},
}
RESULTS = {
    "simulator_over_limit": {"quartiles": [4.92, 5.3, 5.55], "target": 6, "hours_per_second": 77946.65},
    "program_over_simulator": {
        "published_seconds": 0.2,
        "quartiles": [14000, 15000, 15500],
        "one_at_a_time": [900, 1000, 1100],
    },
    "campaign_overhead_ms_per_chunk_of_1000": {"quartiles": [-1.11, 1.26, 3.9], "target": 20},
    "cluster_overhead_ms_per_chunk": {"measured": [21.0, 25.0, 19.0], "target": 20},
    "two_workers_over_one_computing": {"speedups": [1.9, 1.85, 1.95], "target": 1.8},
    "sixteen_workers_over_one_waiting": {"speedup": 15.1, "target": 14},
    "peak_memory_MiB_by_hours": {"measured": {"100000": 268, "1000000": 272}, "target": 2048},
    "million_hours_through_two_workers": {"seconds": 40.1, "largest_MiB": [300, 250, 240], "target": 2048},
    "fault: worker killed": {"seed": 1, "injected": 20, "lost": 0, "twice": 0, "wrong": 0},
    "fuzzed: hours": {"inputs": 245462, "seconds": 140},
    "training_over_plain": {
        "quartiles": [1.65, 1.67, 1.77],
        "target": 1.3,
        "held_out_loss": {"ours": -3.64, "plain": -3.54},
    },
    "hours_read_per_second": {"measured": 3080, "target": 500},
    "posteriors_beside_peers": POSTERIORS,
    "pof_2e-4": {"reference": 2.7e-4, "reference_error": 0.001, "methods": METHODS},
    "pof_2e-5": {"reference": 1.6e-5, "reference_error": 0.001, "methods": METHODS},
    "pof_3e-8": {"reference": 3.2e-8, "reference_error": 0.001, "methods": METHODS},
    "design_search: performance": {"unit": "MW", "methods": SEARCHES},
    "whole_study": {"minutes": 70.0, "chapters": 11},
}


@pytest.fixture
def tables(tmp_path):
    """The tables made of some results."""

    def make(results):
        path = tmp_path / "benchmarks.json"
        path.write_text(json.dumps(results))
        return benchmark_tables(path)

    return make


def rows(table):
    """The cells of each row below the header."""
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_table_has_as_many_cells_in_each_row_and_leaves_nothing_out(tables):
    made = tables(RESULTS)
    assert set(made) == {*TABLES, "made_on"}
    for name, table in TABLES.items():
        assert "not been measured yet" not in made[name]
        assert {len(row) for row in rows(made[name])} == {len(table.header)}


def test_targets_are_met_or_missed(tables):
    campaigns = {row[0].split(" [")[0]: row for row in rows(tables(RESULTS)["campaigns"])}
    outcome = {name: row[-1] for name, row in campaigns.items()}
    assert sorted(outcome.values()) == ["met"] * 5 + ["missed"]
    (missed,) = (row for row in campaigns.values() if row[-1] == "missed")
    assert missed[1:3] == ["21 (19 to 25)", "at most 20"]


def test_a_peer_that_is_ahead_with_every_seed_wins(tables):
    ours, *peers = rows(tables(RESULTS)["posteriors"])
    assert ours == ["this study, 2,700 simulations", "6", "950 (900 to 1,000)", "3.50 ± 0.10", "", ""]
    assert [row[0] for row in peers[:2]] == ["a, as many epochs", "a, as much time"]
    assert [row[1] for row in peers[:2]] == ["6", "4 (4 to 5)"]
    assert [row[-2:] for row in peers] == [
        ["0.10 ± 0.00", "the peer wins"],
        ["-0.10 ± 0.00", "this study wins"],
        ["0.00 ± 0.00", "neither wins"],
        ["0.03 ± 0.12", "neither wins"],
    ]


def test_the_least_error_wins(tables):
    nais, ours = rows(tables(RESULTS)["failures"])[:2]
    assert ours == ["0.00027 ± 0.1 %", "this study", "20,000, 60 times", "+0.1 ± 0.2 %", "1.0 %", ""]
    assert nais[1] == "NAIS"
    assert nais[-1] == "wins"


def test_searches_are_held_against_those_of_the_same_budget(tables):
    made = rows(tables(RESULTS)["searches"])
    assert made[1][:5] == ["performance", "a", "1,024", "1e-09 (0 to 0.002) MW", "18 of 20"]
    assert [row[-1] for row in made] == ["wins", "", "wins"]
    tied = json.loads(json.dumps(SEARCHES))
    tied["a (1024)"]["reached"] = 20
    made = rows(tables({"design_search: performance": {"unit": "MW", "methods": tied}})["searches"])
    assert [row[-1] for row in made][:2] == ["no worse than any"] * 2


def test_faults_are_all_shown(tables):
    more = RESULTS | {"fault: scheduler lost": {"injected": 20, "lost": 1, "twice": 2, "wrong": 3}}
    assert rows(tables(more)["faults"]) == [
        ["worker killed", "20", "0", "0", "0"],
        ["scheduler lost", "20", "1", "2", "3"],
    ]


def test_readers_are_shown_with_how_much_they_have_met(tables):
    assert rows(tables(RESULTS)["fuzzing"]) == [["hours", "245,462", "140"]]


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_missing_is_said_with_the_command_that_measures_it(tables, name):
    fewer = {other: value for other, value in RESULTS.items() if other != name}
    text = "\n".join(tables(fewer).values())
    if name.startswith(("fault: ", "fuzzed: ", "design_search: ")):
        name = name.partition(":")[0]
    (said,) = (line for line in text.splitlines() if "not been measured yet" in line)
    assert f"`{name}`" in said
    assert "tests/benchmarks/" in said


def test_machines_are_told_apart(tables):
    everywhere = {name: value | {"made_on": "an abacus"} for name, value in RESULTS.items()}
    assert tables(everywhere)["made_on"] == "All was measured on an abacus.\n"
    everywhere["whole_study"]["made_on"] = "a slide rule"
    assert "- On a slide rule: `whole_study`.\n" in tables(everywhere)["made_on"]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("simulator_over_limit", {"quartiles": [1.0, 2.0], "target": 6}),
        ("simulator_over_limit", {"quartiles": [1.0, "2", 3.0], "target": 6}),
        ("simulator_over_limit", {"quartiles": [1.0, 2.0, float("nan")], "target": 6}),
        ("simulator_over_limit", {"quartiles": [1.0, 2.0, 3.0], "target": True}),
        ("simulator_over_limit", {"quartiles": [1.0, 2.0, 3.0]}),
        ("simulator_over_limit", [1.0, 2.0, 3.0]),
        ("two_workers_over_one_computing", {"speedups": [1.9] * 2000, "target": 1.8}),
        ("whole_study", {"minutes": 70.0, "chapters": 11, "made_on": "x" * 5000}),
        ("whole_study", {"minutes": 0, "chapters": 11}),
        ("whole_study", {"minutes": 10**400, "chapters": 11}),
        ("posteriors_beside_peers", POSTERIORS | {"at_equal_time": {"ours": [1.0, 2.0], "a": [1.0], "b": [1.0]}}),
        ("pof_2e-4", {"reference": 2.7e-4, "methods": {}}),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_by_name(tables, name, entry):
    with pytest.raises(InputError, match=name):
        tables(RESULTS | {name: entry})


INJECTED = "x\n\n<script>alert(1)</script> {download}`x <../secret>` [a](b) $x$ ![i](j) | *y* \u2028\0"


def with_text_in_place_of_texts(value):
    """The same entry with the injected text for every text that is no name of one of our fields."""
    if isinstance(value, dict):
        return {key: with_text_in_place_of_texts(part) for key, part in value.items()} | {"made_on": INJECTED}
    return INJECTED if isinstance(value, str) else value


def test_texts_from_outside_are_no_markup(tables):
    results = {name: with_text_in_place_of_texts(value) for name, value in RESULTS.items()}
    methods = results["pof_2e-4"]["methods"]
    del methods["made_on"]
    methods[INJECTED] = methods.pop("NAIS")
    results[f"fault: {INJECTED}\ud800"] = results.pop("fault: worker killed")
    results[f"design_search: {INJECTED}"] = results.pop("design_search: performance")
    del results[f"design_search: {INJECTED}"]["methods"]["made_on"]
    results["posteriors_beside_peers"] = POSTERIORS
    for name in ("pof_2e-5", "pof_3e-8", "training_over_plain", "peak_memory_MiB_by_hours"):
        results[name] = RESULTS[name]
    for name, table in tables(results).items():
        unescaped = re.sub(r"\\.", "", table)
        assert not re.search(r"[<>{}$*]|\]\(|\0|[\ud800-\udfff]|\u2028", unescaped), (name, table)
        assert "script" in table or name not in ("made_on", "faults", "searches", "failures")
        table.encode("utf-8")
        if name in TABLES:
            assert {len(row) for row in rows(table)} == {len(TABLES[name].header)}


def test_what_no_table_shows_is_ignored(tables):
    assert tables(RESULTS | {"of another program": [1]}) == tables(RESULTS)


def test_the_page_includes_every_table():
    page = (ROOT / "book" / "benchmarks.md").read_text()
    assert all(page.count(f"```{{include}} benchmarks/{name}.md\n```") == 1 for name in [*TABLES, "made_on"])


def test_the_kept_results_can_be_shown():
    made = benchmark_tables(ROOT / "book" / "published" / "benchmarks.json")
    assert any(rows(table) for table in made.values())


def test_posteriors_at_equal_epochs_alone_have_a_row_a_peer(tables):
    more = {key: POSTERIORS[key] for key in ("simulations", "epochs", "simulations_per_second", "at_equal_epochs")}
    table = tables(RESULTS | {"posteriors_beside_peers: more": more | {"simulations": 10_800}})["posteriors"]
    assert len(rows(table)) == 1 + 2 * 2 + 1 + 2
    assert rows(table)[5][0] == "this study, 10,800 simulations"


def test_what_the_page_says_of_searches_holds():
    """The study's search reaches the best with every seed from the smaller budget, in every problem."""
    kept = json.loads((ROOT / "book" / "published" / "benchmarks.json").read_text())
    searches = [entry["methods"].values() for name, entry in kept.items() if name.startswith("design_search: ")]
    assert len(searches) == 5
    for methods in searches:
        least = min(part["budget"] for part in methods)
        (ours,) = (part for part in methods if part["method"] == "the study's search" and part["budget"] == least)
        assert ours["reached"] == ours["seeds"]


def test_what_the_page_says_of_posteriors_holds():
    """lampe is ahead with every seed, and level with ours once its momentum stays where it is."""
    kept = json.loads((ROOT / "book" / "published" / "benchmarks.json").read_text())["posteriors_beside_peers"]
    judged = {name: np.array(values) for name, values in kept["at_equal_epochs"].items()}
    assert (judged["lampe"] > judged["ours"]).all()
    assert np.abs(judged["lampe with one momentum"] - judged["ours"]).max() < 0.05
