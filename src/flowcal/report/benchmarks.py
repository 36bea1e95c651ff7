"""What a benchmark has kept, checked as it is read.

The tables of the page *Benchmarks*, made of what `make bench` has kept.

Each is a piece of Markdown that the page includes. Who wins is computed, as every number is. What has not been measured
is left out, and the table says which command measures it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from types import MappingProxyType
from typing import Any

from flowcal.challenge import PUBLISHED
from flowcal.errors import InputError
from flowcal.files import read_json
from flowcal.report.tables import markdown_table

__all__ = [
    "Entry",
    "TABLES",
    "Table",
    "benchmark_tables",
]

MOST = 1000  # values of an entry, and characters of a text
LARGEST = 1e15  # number that any benchmark could tell


@dataclass(frozen=True)
class Entry:
    """An object of benchmarks.json, whose values are of the kind and size that is asked for, or an `InputError`.

    Attributes
    ----------
    name : str
        By which errors call it.
    values : mapping
    """

    name: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict) or not 1 <= len(self.values) <= MOST:
            raise InputError(
                f"benchmark {self.name!r} is {_short(self.values)}; expected an object with 1 to {MOST} values."
            )

    def number(self, key: str) -> float:
        """The number of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        return self._number(key, self._value(key))

    def positive(self, key: str) -> float:
        """The number of that name, which is above 0.

        Parameters
        ----------
        key : str

        Returns
        -------
        float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        if (value := self.number(key)) <= 0:
            raise self._unfit(key, "a number above 0")
        return value

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """The numbers of that name, so many, or else at least one.

        Parameters
        ----------
        key : str
        count : int, optional
            How many there have to be.

        Returns
        -------
        list of float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        values = self._value(key)
        if not isinstance(values, list) or not 1 <= len(values) <= MOST or count not in (None, len(values)):
            raise self._unfit(key, f"{count or 'one or more'} numbers")
        return [self._number(key, value) for value in values]

    def text(self, key: str) -> str:
        """The text of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        str

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        value = self._value(key)
        if not isinstance(value, str) or len(value) > MOST:
            raise self._unfit(key, "a short text")
        return value

    def part(self, key: str) -> "Entry":
        """The object of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        Entry

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        return Entry(f"{self.name}: {key}", self._value(key))

    def parts(self, key: str) -> dict[str, "Entry"]:
        """The objects in the object of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        dict of str to Entry

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        part = self.part(key)
        return {name: part.part(name) for name in part.values}

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise InputError(f"benchmark {self.name!r} has no {key!r}; expected an entry as 'make bench' writes it.")
        return self.values[key]

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise self._unfit(key, f"numbers up to {LARGEST:g} alone")
        return value

    def _unfit(self, key: str, needed: str) -> InputError:
        return InputError(f"benchmark {self.name!r} has {_short(self.values[key])} as {key!r}; expected {needed}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


Rows = Iterable[Sequence[str]]

OURS = "ours"


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    header : sequence of str
    rows : mapping of str to callable
        What turns an entry into rows, by the entry's name; a name that ends in '*' stands for all that begin with it.
    command : str
        What measures the entries.
    """

    header: Sequence[str]
    rows: Mapping[str, Callable[[Entry], Rows]]
    command: str

    def markdown(self, results: Entry) -> str:
        """The table with the rows of all entries that there are, and a sentence on those that are not.

        Parameters
        ----------
        results : Entry
            All that the benchmarks have kept.

        Returns
        -------
        str
            Markdown.
        """
        found = {pattern: [name for name in results.values if _matches(name, pattern)] for pattern in self.rows}
        entries = [
            (self.rows[pattern], Entry(name, results.values[name])) for pattern in found for name in found[pattern]
        ]
        rows = [[_as_cell(text) for text in row] for make, entry in entries for row in make(entry)]
        missing = [pattern.rstrip("*: ") for pattern, names in found.items() if not names]
        parts = [markdown_table(self.header, rows)] if rows else []
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            parts.append(f"Left out, for it has not been measured yet: {names}. `{self.command}` measures it.")
        return "\n\n".join(parts) + "\n"


def benchmark_tables(path: Path) -> dict[str, str]:
    """All tables of the page by name, as Markdown.

    Parameters
    ----------
    path : Path
        What the benchmarks have kept.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        If it cannot be read, or an entry does not have the form that its benchmark writes.
    """
    results = Entry(path.name, read_json(path))
    return {name: table.markdown(results) for name, table in TABLES.items()} | {"made_on": _machines(results)}


def _machines(results: Entry) -> str:
    """What the entries were measured on, each with their names, or those of their kind, unless it is all of them."""
    names: dict[str, dict[str, None]] = {}
    for name in results.values:
        entry = results.part(name)
        machine = entry.text("made_on") if "made_on" in entry.values else "a machine that was not recorded"
        names.setdefault(machine, {})[f"`{name.partition(':')[0]}`"] = None
    if len(names) == 1:
        return f"All was measured on {next(iter(names))}.\n"
    return "".join(f"- On {machine}: {', '.join(measured)}.\n" for machine, measured in names.items())


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _as_cell(text: str) -> str:
    """On one line, and with no end of a cell in it."""
    return " ".join(text.split()).replace("|", "\\|")


def _rounded(value: float) -> str:
    """Three digits, or all before the point if there are more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _quartiles(entry: Entry, key: str = "quartiles") -> tuple[str, float]:
    low, middle, high = entry.numbers(key, 3)
    return f"{_rounded(middle)} ({_rounded(low)} to {_rounded(high)})", middle


def _range(values: Sequence[float]) -> tuple[str, float]:
    middle = median(values)
    return f"{_rounded(middle)} ({_rounded(min(values))} to {_rounded(max(values))})", middle


def _mean(values: Sequence[float], digits: int) -> str:
    """With the standard deviation, where there is one."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _held(
    compared: str, measured: Callable[[Entry], tuple[str, float]], bound: str = "at most"
) -> Callable[[Entry], Rows]:
    """A row that holds a measurement, as text and as a number, against its target."""

    def rows(entry: Entry) -> Rows:
        (text, value), target = measured(entry), entry.number("target")
        met = value <= target if bound == "at most" else value >= target
        return [(compared, text, f"{bound} {_rounded(target)}", "met" if met else "missed")]

    return rows


def _program(entry: Entry) -> Rows:
    compared = (
        f"The {entry.number('published_seconds')} s that a run of the organisers' program is published to take, over "
        "an hour of the embedded simulator; on different machines"
    )
    return [
        (f"{compared}; {how}", _quartiles(entry, key)[0], "", "the embedded simulator")
        for how, key in (("20,000 hours at once", "quartiles"), ("one hour a call", "one_at_a_time"))
    ]


def _million(entry: Entry) -> tuple[str, float]:
    largest = entry.numbers("largest_MiB")
    return f"{', '.join(map(_rounded, largest))}; took {_rounded(entry.number('seconds'))} s", max(largest)


def _peak(entry: Entry) -> tuple[str, float]:
    peaks = entry.part("measured")
    few, many = peaks.number("100000"), peaks.number("1000000")
    return f"{_rounded(many)} ({_rounded(few)} with a tenth of the hours)", many


def _plain(entry: Entry) -> tuple[str, float]:
    loss = entry.part("held_out_loss")
    text, middle = _quartiles(entry)
    return f"{text}; held-out loss {loss.number('ours'):.2f} against {loss.number('plain'):.2f}", middle


def _single(key: str) -> Callable[[Entry], tuple[str, float]]:
    return lambda entry: (_rounded(entry.number(key)), entry.number(key))


def _several(key: str) -> Callable[[Entry], tuple[str, float]]:
    return lambda entry: _range(entry.numbers(key))


def _posteriors(entry: Entry) -> Rows:
    """Ours first, then every peer, a row for each way in which it is compared."""
    simulations, epochs = _rounded(entry.number("simulations")), _rounded(entry.number("epochs"))
    speed = entry.part("simulations_per_second")
    for name in (OURS, *(name for name in speed.values if name != OURS)):
        fast = _range(speed.numbers(name))[0]
        passes_of = {"at_equal_epochs": ("as many epochs", epochs)}
        if "at_equal_time" in entry.values:
            passes_of["at_equal_time"] = ("as much time", _range(entry.part("epochs_at_equal_time").numbers(name))[0])
        for key, (how, passes) in passes_of.items():
            ours = entry.part(key).numbers(OURS)
            theirs = entry.part(key).numbers(name, len(ours))
            if name != OURS:
                less = [value - own for value, own in zip(theirs, ours, strict=True)]
                yield f"{name}, {how}", passes, fast, _mean(theirs, 2), _mean(less, 2), _winner(less)
            elif key == "at_equal_epochs":
                yield f"this study, {simulations} simulations", passes, fast, _mean(ours, 2), "", ""


def _called(method: str) -> str:
    return "this study" if method == OURS else method


def _winner(differences: Sequence[float]) -> str:
    """Who has the larger values, if it is the same in every pair."""
    if min(differences) > 0:
        return "the peer wins"
    return "this study wins" if max(differences) < 0 else "neither wins"


def _failures(entry: Entry) -> Rows:
    """By error, the least first."""
    methods = entry.parts("methods")
    errors = {name: math.hypot(part.number("bias"), part.number("variation")) for name, part in methods.items()}
    for place, name in enumerate(sorted(methods, key=errors.__getitem__)):
        part = methods[name]
        yield (
            f"{entry.number('reference'):.3g} ± {100 * entry.number('reference_error'):.1f} %",
            _called(name),
            f"{_rounded(part.number('calls'))}, {part.number('repeats'):.0f} times",
            f"{100 * part.number('bias'):+.1f} ± {100 * part.number('bias_error'):.1f} %",
            f"{100 * part.number('variation'):.1f} %",
            "" if place else "wins",
        )


def _searches(entry: Entry) -> Rows:
    """By budget, and those that reach the best most often first."""
    parts = sorted(entry.parts("methods").values(), key=lambda part: (part.number("budget"), -part.number("reached")))
    for part in parts:
        budget, reached = part.number("budget"), part.number("reached")
        rivals = [other.number("reached") for other in parts if other.number("budget") == budget]
        yield (
            entry.name.partition(": ")[2],
            part.text("method"),
            _rounded(budget),
            f"{_quartiles(part)[0]} {entry.text('unit')}".strip(),
            f"{reached:.0f} of {part.number('seeds'):.0f}",
            _place(reached, rivals),
        )


def _place(value: float, rivals: Sequence[float]) -> str:
    """What a number of successes is among those of all methods, itself included."""
    if value < max(rivals):
        return ""
    return "wins" if rivals.count(value) == 1 else "no worse than any"


def _faults(entry: Entry) -> Rows:
    counts = [f"{entry.number(key):.0f}" for key in ("injected", "lost", "twice", "wrong")]
    return [(entry.name.partition(": ")[2], *counts)]


def _fuzzed(entry: Entry) -> Rows:
    return [(entry.name.partition(": ")[2], f"{entry.number('inputs'):,.0f}", f"{entry.number('seconds'):.0f}")]


def _study(entry: Entry) -> Rows:
    minutes, chapters = entry.positive("minutes"), entry.number("chapters")
    low, high = PUBLISHED["Roy Sarkar et al."].effort["hours, each design problem"]
    compared = (
        f"The {low} to {high} hours that a published entry spent on each of its design problems, over those of this "
        f"whole study: all {chapters:.0f} chapters at the profile `full`; on different machines"
    )
    measured = f"{_rounded(60 * low / minutes)} to {_rounded(60 * high / minutes)} ({_rounded(minutes)} minutes)"
    return [(compared, measured, "", "this study wins")]


HELD = ("What was compared", "Measured", "Target", "Outcome")
BENCH = ".venv/bin/python -m pytest -s tests/benchmarks"
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "simulator": Table(
            HELD,
            {
                "simulator_over_limit": _held(
                    "An hour of the simulator, over what every such simulator has to do: draw 120 normal numbers an "
                    "hour and write the output",
                    _quartiles,
                ),
                "program_over_simulator": _program,
            },
            f"{BENCH}/test_simulator.py",
        ),
        "campaigns": Table(
            HELD,
            {
                "campaign_overhead_ms_per_chunk_of_1000": _held(
                    "What a campaign in this process adds to the simulations of a chunk of 1,000 hours [ms]", _quartiles
                ),
                "cluster_overhead_ms_per_chunk": _held(
                    "What a campaign over two Dask workers costs beside simulations that take no time [ms a chunk]",
                    _several("measured"),
                ),
                "two_workers_over_one_computing": _held(
                    "One Dask worker over two, with a program that computes for 0.2 s a run, on two processors",
                    _several("speedups"),
                    "at least",
                ),
                "sixteen_workers_over_one_waiting": _held(
                    "One Dask worker over sixteen, with a program that waits for 0.2 s a run",
                    _single("speedup"),
                    "at least",
                ),
                "peak_memory_MiB_by_hours": _held(
                    "Largest memory of a campaign of 1,000,000 hours that streams to disk [MiB]", _peak
                ),
                "million_hours_through_two_workers": _held(
                    "The same over two processes: this one's and the workers' [MiB]", _million
                ),
            },
            f"{BENCH}/test_simulator.py tests/benchmarks/test_campaigns.py",
        ),
        "faults": Table(
            ("Fault", "Injected", "lost", "made twice", "stored wrongly"),
            {"fault: *": _faults},
            f"{BENCH}/test_faults.py",
        ),
        "fuzzing": Table(
            ("Reader", "Inputs", "Seconds"),
            {"fuzzed: *": _fuzzed},
            f"{BENCH}/test_fuzzing.py",
        ),
        "training": Table(
            HELD,
            {
                "training_over_plain": _held(
                    "Hours trained on a second, over those of a network of the same sizes from the parts that PyTorch "
                    "and zuko bring",
                    _plain,
                    "at least",
                ),
                "hours_read_per_second": _held(
                    "Hours a second for which a trained posterior gives ten draws", _single("measured"), "at least"
                ),
            },
            f"{BENCH}/test_training.py",
        ),
        "posteriors": Table(
            ("Method", "Epochs", "Simulations a second", "Expected log posterior", "Less this study's", "Outcome"),
            {"posteriors_beside_peers*": _posteriors},
            f"{BENCH}/test_peers_inference.py",
        ),
        "failures": Table(
            ("Probability", "Method", "Simulations", "Bias", "Standard deviation", "Outcome"),
            {"pof_2e-4": _failures, "pof_2e-5": _failures, "pof_3e-8": _failures},
            f"{BENCH}/test_reliability.py",
        ),
        "searches": Table(
            ("Problem", "Method", "Control points", "Short of the best", "Seeds that reach it", "Outcome"),
            {"design_search: *": _searches},
            f"{BENCH}/test_optimisers.py",
        ),
        "study": Table(HELD, {"whole_study": _study}, f"make full && {BENCH}/test_study.py"),
    }
)
"""The tables of the page by name."""
