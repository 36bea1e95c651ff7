"""The tables of the page *Benchmarks*, made from what `make bench` measured.

Each is a piece of Markdown that the page includes. Who wins is computed from the numbers. What has not been measured is
left out, and the table says which command measures it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from flowcal.challenge import PUBLISHED
from flowcal.errors import InputError
from flowcal.files import Record, as_record, read_json
from flowcal.report.tables import Text, markdown_table, plain_text

__all__ = ["Entry", "Row", "TABLES", "Table", "benchmark_tables"]

MOST = 1000  # entries of a file, and values of an entry
OURS = "ours"

Value = Annotated[float, Field(ge=-1e15, le=1e15)]
Positive = Annotated[float, Field(gt=0, le=1e15)]
Values = Annotated[tuple[Value, ...], Field(min_length=1, max_length=MOST)]
Quartiles = tuple[Value, Value, Value]
ByMethod = Annotated[dict[Text, Values], Field(min_length=1, max_length=MOST)]

Rows = Iterable[Sequence[str]]


class Entry(Record):
    """What a benchmark measured, and on which machine; values that no table shows are ignored."""

    model_config = ConfigDict(extra="ignore")
    made_on: Text = "a machine that was not recorded"

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        """The rows of a table, from the entry's name, and for targets what was compared and how it is bounded."""
        raise NotImplementedError


class Compared(Entry):
    """What is compared with a target."""

    target: Value

    def measured(self) -> tuple[str, float]:
        """What stands in the cell, and the number that is compared."""
        raise NotImplementedError

    def rows(self, name: str, compared: str, bound: str) -> Rows:
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


class Losses(Record):
    """Held-out losses of this study's network and of a plain one."""

    ours: Value
    plain: Value


class Training(Ratio):
    """A ratio of speeds, with the losses that the two reach."""

    held_out_loss: Losses

    def measured(self) -> tuple[str, float]:
        text, middle = super().measured()
        return f"{text}; held-out loss {self.held_out_loss.ours:.2f} against {self.held_out_loss.plain:.2f}", middle


class Peaks(Record):
    """Largest memory by number of hours [MiB]."""

    few: Annotated[Value, Field(alias="100000")]
    many: Annotated[Value, Field(alias="1000000")]


class Memory(Compared):
    """Largest memory of a campaign."""

    peaks: Annotated[Peaks, Field(alias="measured")]

    def measured(self) -> tuple[str, float]:
        return f"{_rounded(self.peaks.many)} ({_rounded(self.peaks.few)} with a tenth of the hours)", self.peaks.many


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

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        compared = (
            f"The {self.published_seconds} s that a run of the organisers' program is published to take, over "
            "an hour of the embedded simulator; on different machines"
        )
        for how, quartiles in (("20,000 hours at once", self.quartiles), ("one hour a call", self.one_at_a_time)):
            yield f"{compared}; {how}", _quartiles(quartiles), "", "the embedded simulator"


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
        methods, timed = set(self.simulations_per_second) | {OURS}, (self.at_equal_time, self.epochs_at_equal_time)
        for part in (self.simulations_per_second, self.at_equal_epochs, *timed):
            if part is not None and set(part) != methods:
                raise ValueError(f"expected the same methods everywhere, {OURS!r} among them")
        for part in (self.at_equal_epochs, self.at_equal_time or {}):
            if len({len(values) for values in part.values()}) > 1:
                raise ValueError("expected as many values of each method")
        if (self.at_equal_time is None) != (self.epochs_at_equal_time is None):
            raise ValueError("expected epochs at equal time with the posteriors at equal time")
        return self

    def rows(self, name: str, compared: str, bound: str) -> Rows:
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
    methods: Annotated[dict[Text, Estimator], Field(min_length=1, max_length=MOST)]

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        ranked = sorted(self.methods.items(), key=lambda item: math.hypot(item[1].bias, item[1].variation))
        for place, (method, part) in enumerate(ranked):
            yield (
                f"{self.reference:.3g} ± {100 * self.reference_error:.1f} %",
                "this study" if method == OURS else method,
                f"{_rounded(part.calls)}, {part.repeats:.0f} times",
                f"{100 * part.bias:+.1f} ± {100 * part.bias_error:.1f} %",
                f"{100 * part.variation:.1f} %",
                "" if place else "wins",
            )


class Method(Record):
    """How short of the best a search ends, and how many of its seeds reach it."""

    model_config = ConfigDict(extra="ignore")
    method: Text
    budget: Value
    quartiles: Quartiles
    seeds: Value
    reached: Value


class Searches(Entry):
    """Searches for a design by several methods."""

    unit: Text
    methods: Annotated[dict[Text, Method], Field(min_length=1, max_length=MOST)]

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        for part in sorted(self.methods.values(), key=lambda part: (part.budget, -part.reached)):
            rivals = [other.reached for other in self.methods.values() if other.budget == part.budget]
            yield (
                _case(name),
                part.method,
                _rounded(part.budget),
                f"{_quartiles(part.quartiles)} {self.unit}".strip(),
                f"{part.reached:.0f} of {part.seeds:.0f}",
                _place(part.reached, rivals),
            )


class Fault(Entry):
    """How often a fault was injected into a campaign, and hours that were lost, made twice or wrong."""

    injected: Value
    lost: Value
    twice: Value
    wrong: Value

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        yield _case(name), *(f"{count:.0f}" for count in (self.injected, self.lost, self.twice, self.wrong))


class Fuzzed(Entry):
    """How many files a reader was fuzzed with."""

    inputs: Value
    seconds: Value

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        yield _case(name), f"{self.inputs:,.0f}", f"{self.seconds:.0f}"


class WholeStudy(Entry):
    """Minutes of all chapters at the profile `full`."""

    minutes: Positive
    chapters: Value

    def rows(self, name: str, compared: str, bound: str) -> Rows:
        low, high = PUBLISHED["Roy Sarkar et al."].effort["hours, each design problem"]
        compared = (
            f"The {low} to {high} hours that a published entry spent on each of its design problems, over those of "
            f"this whole study: all {self.chapters:.0f} chapters at the profile `full`; on different machines"
        )
        ratios = f"{_rounded(60 * low / self.minutes)} to {_rounded(60 * high / self.minutes)}"
        yield compared, f"{ratios} ({_rounded(self.minutes)} minutes)", "", "this study wins"


@dataclass(frozen=True)
class Row:
    """How an entry becomes rows: its kind, and for targets what was compared and how it is bounded."""

    kind: type[Entry]
    compared: str = ""
    bound: str = "at most"


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    rows : mapping of str to Row
        By the entry's name; a name that ends in '*' stands for all that begin with it.
    command : str
        What measures the entries.
    """

    header: Sequence[str]
    rows: Mapping[str, Row]
    command: str

    def markdown(self, results: Mapping[str, Any]) -> str:
        """The rows of all entries that were measured, and a sentence on those that were not."""
        found = {pattern: [name for name in results if _matches(name, pattern)] for pattern in self.rows}
        rows: list[Sequence[str]] = []
        for pattern, row in self.rows.items():
            for name in found[pattern]:
                rows += _read(row.kind, name, results[name]).rows(name, row.compared, row.bound)
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


def _read(kind: type[Entry], name: str, value: object) -> Entry:
    return as_record(kind, value, f"benchmark {name!r}")


def _machines(results: Mapping[str, Any]) -> str:
    """What the entries were measured on, each machine with the kinds of its entries, unless it is all of them."""
    kinds: dict[str, dict[str, None]] = {}
    patterns = [pattern for table in TABLES.values() for pattern in table.rows]
    for name, value in results.items():
        for pattern in patterns:
            if _matches(name, pattern):
                kinds.setdefault(_read(Entry, name, value).made_on, {})[f"`{_kind(pattern)}`"] = None
    if len(kinds) == 1:
        return f"All was measured on {next(iter(kinds))}.\n"
    return "".join(f"- On {machine}: {', '.join(measured)}.\n" for machine, measured in kinds.items())


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _kind(pattern: str) -> str:
    return pattern.rstrip("*: ")


def _case(name: str) -> str:
    """What follows the kind in an entry's name."""
    return plain_text(name.partition(": ")[2])


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
    winner = "neither wins"
    if min(less) > 0:
        winner = "the peer wins"
    elif max(less) < 0:
        winner = "this study wins"
    return _mean(values[peer]), _mean(less), winner


def _place(value: float, rivals: Sequence[float]) -> str:
    """Outcome of a number of successes among those of all methods, itself included."""
    if value < max(rivals):
        return ""
    return "wins" if rivals.count(value) == 1 else "no worse than any"


TARGETS = ("What was compared", "Measured", "Target", "Outcome")
BENCH = ".venv/bin/python -m pytest -s tests/benchmarks"
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "simulator": Table(
            TARGETS,
            {
                "simulator_over_limit": Row(
                    Ratio,
                    "An hour of the simulator, over what every such simulator has to do: draw 120 normal numbers an "
                    "hour and write the output",
                ),
                "program_over_simulator": Row(Program),
            },
            f"{BENCH}/test_simulator.py",
        ),
        "campaigns": Table(
            TARGETS,
            {
                "campaign_overhead_ms_per_chunk_of_1000": Row(
                    Ratio, "What a campaign in this process adds to the simulations of a chunk of 1,000 hours [ms]"
                ),
                "cluster_overhead_ms_per_chunk": Row(
                    Target,
                    "What a campaign over two Dask workers costs beside simulations that take no time [ms a chunk]",
                ),
                "two_workers_over_one_computing": Row(
                    Target,
                    "One Dask worker over two, with a program that computes for 0.2 s a run, on two processors",
                    "at least",
                ),
                "sixteen_workers_over_one_waiting": Row(
                    Target, "One Dask worker over sixteen, with a program that waits for 0.2 s a run", "at least"
                ),
                "peak_memory_MiB_by_hours": Row(
                    Memory, "Largest memory of a campaign of 1,000,000 hours that streams to disk [MiB]"
                ),
                "million_hours_through_two_workers": Row(
                    Million, "The same over two processes: this one's and the workers' [MiB]"
                ),
            },
            f"{BENCH}/test_simulator.py tests/benchmarks/test_campaigns.py",
        ),
        "faults": Table(
            ("Fault", "Injected", "lost", "made twice", "stored wrongly"),
            {"fault: *": Row(Fault)},
            f"{BENCH}/test_faults.py",
        ),
        "fuzzing": Table(("Reader", "Inputs", "Seconds"), {"fuzzed: *": Row(Fuzzed)}, f"{BENCH}/test_fuzzing.py"),
        "training": Table(
            TARGETS,
            {
                "training_over_plain": Row(
                    Training,
                    "Hours trained on a second, over those of a network of the same sizes from the parts that PyTorch "
                    "and zuko bring",
                    "at least",
                ),
                "hours_read_per_second": Row(
                    Target, "Hours a second for which a trained posterior gives ten draws", "at least"
                ),
            },
            f"{BENCH}/test_training.py",
        ),
        "posteriors": Table(
            ("Method", "Epochs", "Simulations a second", "Expected log posterior", "Less this study's", "Outcome"),
            {"posteriors_beside_peers*": Row(Posteriors)},
            f"{BENCH}/test_peers_inference.py",
        ),
        "failures": Table(
            ("Probability", "Method", "Simulations", "Bias", "Standard deviation", "Outcome"),
            dict.fromkeys(("pof_2e-4", "pof_2e-5", "pof_3e-8"), Row(Failures)),
            f"{BENCH}/test_reliability.py",
        ),
        "searches": Table(
            ("Problem", "Method", "Control points", "Short of the best", "Seeds that reach it", "Outcome"),
            {"design_search: *": Row(Searches)},
            f"{BENCH}/test_optimisers.py",
        ),
        "study": Table(TARGETS, {"whole_study": Row(WholeStudy)}, f"make full && {BENCH}/test_study.py"),
    }
)
"""The tables of the page by name."""
