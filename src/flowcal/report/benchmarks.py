"""The tables of the page *Benchmarks*, made from what `make bench` measured.

Each is a piece of Markdown that the page includes. Who wins is computed from the numbers. What has not been measured is
left out, and the table says which command measures it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from flowcal.errors import InputError
from flowcal.files import Record, as_record, read_json
from flowcal.report.tables import Text, markdown_table, plain_text

__all__ = ["Entry", "Row", "TABLES", "Table", "benchmark_tables"]

MOST = 1000  # entries of a file, and values of an entry
OURS = "ours"

Value = Annotated[float, Field(ge=-1e15, le=1e15)]
Some = Field(min_length=1, max_length=MOST)
Values = Annotated[tuple[Value, ...], Some]
Quartiles = tuple[Value, Value, Value]
ByMethod = Annotated[dict[Text, Values], Some]

Rows = Iterable[Sequence[str]]


class Entry(Record):
    """What a benchmark measured, and on which machine; values that no table shows are ignored."""

    model_config = ConfigDict(extra="ignore")
    made_on: Text = "a machine that was not recorded"

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        """The rows of a table; `case` is what follows the kind in the entry's name, and `bound` how a target bounds."""
        raise NotImplementedError


class Compared(Entry):
    """What is compared with a target: `measured` gives what stands in the cell, and the number that is compared."""

    target: Value

    def measured(self) -> tuple[str, float]:
        raise NotImplementedError

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        text, number = self.measured()
        met = number <= self.target if bound == "at most" else number >= self.target
        yield compared, text, f"{bound} {_rounded(self.target)}", "met" if met else "missed"


class Target(Compared):
    """One or more measurements."""

    values: Annotated[Value | Values, Field(validation_alias=AliasChoices("measured", "speedup", "speedups"))]

    def measured(self) -> tuple[str, float]:
        if isinstance(self.values, tuple):
            return _range(self.values), median(self.values)
        return _rounded(self.values), self.values


class Ratio(Compared):
    """Quartiles of ratios or of overheads."""

    quartiles: Quartiles

    def measured(self) -> tuple[str, float]:
        return _quartiles(self.quartiles), self.quartiles[1]


class Training(Ratio):
    """A ratio of speeds, with the held-out losses that this study's network and a plain one reach."""

    held_out_loss: Annotated[dict[Literal["ours", "plain"], Value], Field(min_length=2)]

    def measured(self) -> tuple[str, float]:
        (text, middle), loss = super().measured(), self.held_out_loss
        return f"{text}; held-out loss {loss['ours']:.2f} against {loss['plain']:.2f}", middle


class Memory(Compared):
    """Largest memory of a campaign by number of hours [MiB]."""

    peaks: Annotated[dict[Literal["100000", "1000000"], Value], Field(min_length=2, alias="measured")]

    def measured(self) -> tuple[str, float]:
        few, many = self.peaks["100000"], self.peaks["1000000"]
        return f"{_rounded(many)} ({_rounded(few)} with a tenth of the hours)", many


class Million(Compared):
    """Largest memory of each process of a campaign [MiB], and its seconds."""

    largest_MiB: Values
    seconds: Value

    def measured(self) -> tuple[str, float]:
        each = ", ".join(map(_rounded, self.largest_MiB))
        return f"{each}; took {_rounded(self.seconds)} s", max(self.largest_MiB)


class Program(Entry):
    """The published seconds of a run of the organisers' program over those of the embedded simulator."""

    published_seconds: Value
    quartiles: Quartiles
    one_at_a_time: Quartiles

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        for how, quartiles in (("20,000 hours at once", self.quartiles), ("one hour a call", self.one_at_a_time)):
            what = compared.format(f"{self.published_seconds} s")
            yield f"{what}; {how}", _quartiles(quartiles), "", "the embedded simulator"


class Posteriors(Entry):
    """Posteriors by method: epochs, simulations per second, and expected log posteriors at equal epochs or times."""

    simulations: Value
    epochs: Value
    simulations_per_second: ByMethod
    at_equal_epochs: ByMethod
    at_equal_time: ByMethod | None = None
    epochs_at_equal_time: ByMethod | None = None

    @model_validator(mode="after")
    def _has_all_methods(self) -> "Posteriors":
        timed = (self.at_equal_time, self.epochs_at_equal_time)
        for part in (self.simulations_per_second, self.at_equal_epochs, *timed):
            if part is not None and set(part) != {OURS, *self.simulations_per_second}:
                raise ValueError(f"expected the same methods everywhere, {OURS!r} among them")
        for part in (self.at_equal_epochs, self.at_equal_time or {}):
            if len({len(values) for values in part.values()}) > 1:
                raise ValueError("expected as many values of each method")
        if timed.count(None) == 1:
            raise ValueError("expected epochs at equal time with the posteriors at equal time")
        return self

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        ours = self.at_equal_epochs[OURS]
        simulations, epochs = _rounded(self.simulations), _rounded(self.epochs)
        speed = {method: _range(values) for method, values in self.simulations_per_second.items()}
        yield f"this study, {simulations} simulations", epochs, speed[OURS], _mean(ours), "", ""
        for peer in (method for method in speed if method != OURS):
            yield f"{peer}, as many epochs", epochs, speed[peer], *_compared(self.at_equal_epochs, peer)
            if self.at_equal_time and self.epochs_at_equal_time:
                passes = _range(self.epochs_at_equal_time[peer])
                yield f"{peer}, as much time", passes, speed[peer], *_compared(self.at_equal_time, peer)


class Estimator(Entry):
    """How a method estimates a probability of failure: relative bias with its error, and relative deviation."""

    bias: Value
    bias_error: Value
    variation: Value
    calls: Value
    repeats: Value


class Failures(Entry):
    """A probability of failure, and how several methods estimate it."""

    reference: Value
    reference_error: Value
    methods: Annotated[dict[Text, Estimator], Some]

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        reference = f"{self.reference:.3g} ± {100 * self.reference_error:.1f} %"
        ranked = sorted(self.methods.items(), key=lambda item: math.hypot(item[1].bias, item[1].variation))
        for place, (method, part) in enumerate(ranked):
            calls = f"{_rounded(part.calls)}, {part.repeats:.0f} times"
            bias = f"{100 * part.bias:+.1f} ± {100 * part.bias_error:.1f} %"
            source, outcome = "this study" if method == OURS else method, "" if place else "wins"
            yield reference, source, calls, bias, f"{100 * part.variation:.1f} %", outcome


class Method(Entry):
    """How short of the best a search ends, and how many of its seeds reach it."""

    method: Text
    budget: Value
    quartiles: Quartiles
    seeds: Value
    reached: Value


class Searches(Entry):
    """Searches for a design by several methods."""

    unit: Text
    methods: Annotated[dict[Text, Method], Some]

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        for part in sorted(self.methods.values(), key=lambda part: (part.budget, -part.reached)):
            rivals = [other.reached for other in self.methods.values() if other.budget == part.budget]
            best = "wins" if rivals.count(part.reached) == 1 else "no worse than any"
            short = f"{_quartiles(part.quartiles)} {self.unit}".strip()
            reached = f"{part.reached:.0f} of {part.seeds:.0f}"
            outcome = best if part.reached == max(rivals) else ""
            yield case, part.method, _rounded(part.budget), short, reached, outcome


class Fault(Entry):
    """How often a fault was injected into a campaign, and hours that were lost, made twice or wrong."""

    injected: Value
    lost: Value
    twice: Value
    wrong: Value

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        yield case, *(f"{count:.0f}" for count in (self.injected, self.lost, self.twice, self.wrong))


class Fuzzed(Entry):
    """How many files a reader was fuzzed with."""

    inputs: Value
    seconds: Value

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        yield case, f"{self.inputs:,.0f}", f"{self.seconds:.0f}"


class WholeStudy(Entry):
    """Minutes of all chapters at the profile `full`."""

    minutes: Annotated[float, Field(gt=0, le=1e15)]
    chapters: Value

    def rows(self, case: str, compared: str, bound: str) -> Rows:
        yield f"all {self.chapters:.0f} chapters at the profile `full`", f"{_rounded(self.minutes)}"


@dataclass(frozen=True)
class Row:
    """How an entry becomes rows: its kind, what was compared, and how a target bounds it."""

    kind: type[Entry]
    compared: str = ""
    bound: str = "at most"


@dataclass(frozen=True)
class Table:
    """A table of the page, and the command that measures its entries.

    Rows are by the entry's name; a name that ends in '*' stands for all that begin with it.
    """

    header: Sequence[str]
    rows: Mapping[str, Row]
    command: str

    def markdown(self, results: Mapping[str, Any]) -> str:
        """The rows of all entries that were measured, and a sentence on those that were not."""
        found = {pattern: [name for name in results if fnmatchcase(name, pattern)] for pattern in self.rows}
        rows: list[Sequence[str]] = []
        for pattern, row in self.rows.items():
            for name in found[pattern]:
                entry = as_record(row.kind, results[name], f"benchmark {name!r}")
                rows += entry.rows(plain_text(name.partition(": ")[2]), row.compared, row.bound)
        parts = [markdown_table(self.header, rows)] if rows else []
        if missing := ", ".join(f"`{_kind(pattern)}`" for pattern, names in found.items() if not names):
            parts.append(f"Left out, for it has not been measured yet: {missing}. `{self.command}` measures it.")
        return "\n\n".join(parts) + "\n"


def benchmark_tables(path: Path) -> dict[str, str]:
    """All tables of the page by name, as Markdown, from the benchmarks' file; other entries of it are ignored."""
    results = read_json(path)
    if not isinstance(results, dict) or not 1 <= len(results) <= MOST:
        raise InputError(f"{path.name} cannot be used; expected an object with 1 to {MOST} entries.")
    return {name: table.markdown(results) for name, table in TABLES.items()} | {"made_on": _machines(results)}


def _machines(results: Mapping[str, Any]) -> str:
    """What the entries were measured on, each machine with the kinds of its entries, unless it is all of them."""
    kinds: dict[str, list[str]] = {}
    patterns = [pattern for table in TABLES.values() for pattern in table.rows]
    for name, value in results.items():
        for pattern in filter(partial(fnmatchcase, name), patterns):
            kinds.setdefault(as_record(Entry, value, f"benchmark {name!r}").made_on, []).append(f"`{_kind(pattern)}`")
    if len(kinds) == 1:
        return f"All was measured on {next(iter(kinds))}.\n"
    return "".join(f"- On {machine}: {', '.join(dict.fromkeys(found))}.\n" for machine, found in kinds.items())


def _kind(pattern: str) -> str:
    return pattern.rstrip("*: ")


def _rounded(value: float) -> str:
    """Three digits, or all before the point if there are more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _quartiles(quartiles: Quartiles) -> str:
    low, middle, high = map(_rounded, quartiles)
    return f"{middle} ({low} to {high})"


def _range(values: Sequence[float]) -> str:
    return _quartiles((min(values), median(values), max(values)))


def _mean(values: Sequence[float]) -> str:
    """With the standard deviation, where there is one."""
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"


def _compared(values: Mapping[str, Sequence[float]], peer: str) -> tuple[str, str, str]:
    """A peer's values, their differences from ours, and who is ahead in every pair."""
    less = [value - own for value, own in zip(values[peer], values[OURS], strict=True)]
    winner = "the peer wins" if min(less) > 0 else "this study wins" if max(less) < 0 else "neither wins"
    return _mean(values[peer]), _mean(less), winner


TARGETS = ("What was compared", "Measured", "Target", "Outcome")
POSTERIORS = ("Method", "Epochs", "Simulations a second", "Expected log posterior", "Less this study's", "Outcome")
FAULTS = ("Fault", "Injected", "lost", "made twice", "stored wrongly")
FAILURES = ("Probability", "Method", "Simulations", "Bias", "Standard deviation", "Outcome")
SEARCHES = ("Problem", "Method", "Control points", "Short of the best", "Seeds that reach it", "Outcome")

SIMULATOR = {
    "simulator_over_limit": Row(
        Ratio,
        "An hour of the simulator, over what every such simulator has to do: draw 120 normal numbers an hour and write "
        "the output",
    ),
    "program_over_simulator": Row(
        Program,
        "The {} that a run of the organisers' program is published to take, over an hour of the embedded simulator; on "
        "different machines",
    ),
}
CAMPAIGNS = {
    "campaign_overhead_ms_per_chunk_of_1000": Row(
        Ratio, "What a campaign in this process adds to the simulations of a chunk of 1,000 hours [ms]"
    ),
    "cluster_overhead_ms_per_chunk": Row(
        Target, "What a campaign over two Dask workers costs beside simulations that take no time [ms a chunk]"
    ),
    "two_workers_over_one_computing": Row(
        Target, "One Dask worker over two, with a program that computes for 0.2 s a run, on two processors", "at least"
    ),
    "sixteen_workers_over_one_waiting": Row(
        Target, "One Dask worker over sixteen, with a program that waits for 0.2 s a run", "at least"
    ),
    "peak_memory_MiB_by_hours": Row(
        Memory, "Largest memory of a campaign of 1,000,000 hours that streams to disk [MiB]"
    ),
    "million_hours_through_two_workers": Row(Million, "The same over two processes: this one's and the workers' [MiB]"),
}
TRAINING = {
    "training_over_plain": Row(
        Training,
        "Hours trained on a second, over those of a network of the same sizes from the parts that PyTorch and zuko "
        "bring",
        "at least",
    ),
    "hours_read_per_second": Row(Target, "Hours a second for which a trained posterior gives ten draws", "at least"),
}
BENCH = ".venv/bin/python -m pytest -s tests/benchmarks"
TABLES: Mapping[str, Table] = {
    "simulator": Table(TARGETS, SIMULATOR, f"{BENCH}/test_simulator.py"),
    "campaigns": Table(TARGETS, CAMPAIGNS, f"{BENCH}/test_simulator.py tests/benchmarks/test_campaigns.py"),
    "faults": Table(FAULTS, {"fault: *": Row(Fault)}, f"{BENCH}/test_faults.py"),
    "fuzzing": Table(("Reader", "Inputs", "Seconds"), {"fuzzed: *": Row(Fuzzed)}, f"{BENCH}/test_fuzzing.py"),
    "training": Table(TARGETS, TRAINING, f"{BENCH}/test_training.py"),
    "posteriors": Table(POSTERIORS, {"posteriors_beside_peers*": Row(Posteriors)}, f"{BENCH}/test_peers_inference.py"),
    "failures": Table(
        FAILURES, dict.fromkeys(("pof_2e-4", "pof_2e-5", "pof_3e-8"), Row(Failures)), f"{BENCH}/test_reliability.py"
    ),
    "searches": Table(SEARCHES, {"design_search: *": Row(Searches)}, f"{BENCH}/test_optimisers.py"),
    "study": Table(("What", "Minutes"), {"whole_study": Row(WholeStudy)}, f"make full && {BENCH}/test_study.py"),
}
"""The tables of the page by name."""
