"""The command `flowcal`."""

import argparse
import io
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from flowcal.errors import FlowcalError, InputError, visible

if TYPE_CHECKING:
    from flowcal.chapters import Settings

__all__ = ["main"]

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

# What a verb needs is imported where it runs: `flowcal simulate` is started anew for every batch of runs.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is 0, 1 for an error, 2 for a wrong command line, or 128 and a signal's number."""
    _open_streams()
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGINT)}
    try:
        for number in ENDING:
            signal.signal(number, _end)
        options = _parser().parse_args(arguments)
        options.verb(options)
        sys.stdout.flush()
    except FlowcalError as error:
        return _fail(str(error))
    except BrokenPipeError:  # who reads our output has seen enough
        _silence(sys.stdout)
        return 128 + signal.SIGPIPE
    except OSError as error:
        _silence(sys.stdout)  # it may be what cannot be written
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except MemoryError:
        return _fail("the memory of this machine does not suffice")
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)
    except Ended as ended:
        return _fail(f"ended by {ended.signal.name}", 128 + ended.signal)
    finally:
        for number, handler in before.items():  # programs that are started later inherit what is ignored
            signal.signal(number, handler)
    return 0


class Ended(BaseException):
    """A signal has asked this process to end; an exception, so that things end well."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


def _end(number: int, frame: object) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)  # another one would interrupt the cleaning up
    raise Ended(number)


def _fail(said: str, code: int = 1) -> int:
    for number in (*ENDING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        print(visible(f"flowcal: {said}"), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
    return code


def _open_streams() -> None:
    """Let nothing that is opened later take the place of a closed standard stream, and let every text be printable."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence(stream: TextIO) -> None:
    """Let what is still to be written to a stream vanish, so that the interpreter does not try it again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowcal", description="Run the study, or the black box alone.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    study = _options_of_a_study()

    run = verbs.add_parser("run", parents=[study], help="execute chapters; without names, those that are not fresh")
    run.add_argument("chapters", nargs="*", metavar="CHAPTER")
    run.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler to run campaigns on, tcp://host:port")
    run.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="for each call of a program; an hour if not given"
    )
    run.set_defaults(verb=_run)

    status = verbs.add_parser("status", parents=[study], help="show which chapters are fresh")
    status.set_defaults(verb=_status)

    book = verbs.add_parser("book", parents=[study], help="render the executed chapters as a static book")
    book.add_argument("--published", action="store_true", help="render the chapters kept in book/published instead")
    book.add_argument("--pdf", action="store_true", help="as one PDF, by a Chromium of this machine")
    book.set_defaults(verb=_book)

    publish = verbs.add_parser("publish", parents=[study], help="keep the executed chapters in book/published")
    publish.set_defaults(verb=_publish)

    score = verbs.add_parser("score", help="hold published results and our method against known truths")
    score.add_argument("--systems", type=_count, default=100, help="synthetic real systems to judge our method on")
    score.add_argument("--paper-systems", type=_count, default=5, help="how many of them for the paper's two steps")
    score.add_argument("--design-systems", type=_count, default=20, help="for how many of them designs are made")
    score.add_argument("--readings", type=_count, default=16, help="trainings of each step in the multiverse")
    score.add_argument("--rebuilds", type=_count, default=10, help="training seeds for the rebuilt paper method")
    score.add_argument("--boxes", type=_count, default=100, help="systems for each noisy or wrong black box")
    score.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler to judge them on, tcp://host:port")
    score.set_defaults(verb=_score)

    pair = verbs.add_parser("pair", help="store the quick profile's checked outputs in the paired notebooks")
    pair.set_defaults(verb=_pair)

    export = verbs.add_parser("export", parents=[study], help="write the results in the organisers' form")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.set_defaults(verb=_export)

    fetch = verbs.add_parser("fetch", help="download the organisers' example hours")
    fetch.set_defaults(verb=_fetch)

    simulate = verbs.add_parser("simulate", help="run the embedded black box as the organisers' program is run")
    simulate.add_argument("input", type=Path, metavar="INPUT.txt", help="a run a row: eight inputs and a seed")
    simulate.add_argument("--output", type=Path, default=Path("Y_out.csv"), metavar="Y_out.csv")
    simulate.set_defaults(verb=_simulate)
    return parser


def _options_of_a_study() -> argparse.ArgumentParser:
    study = argparse.ArgumentParser(add_help=False)
    study.add_argument(
        "--profile", default="quick", help="how much to spend: quick, or the name of a file in profiles/"
    )
    study.add_argument("--simulator", default="windfarm", metavar="windfarm|executable:PATH")
    study.add_argument("--observations", default="embedded", metavar="embedded|organisers|DIR")
    study.add_argument(
        "--allow-failed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the runs of a training campaign that may be missing because they failed three times",
    )
    return study


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, got {text!r}")
    return int(text)


def _settings(options: argparse.Namespace) -> "Settings":
    from flowcal.chapters import Settings

    settings = Settings(options.profile, options.simulator, options.observations, allowed_share=options.allow_failed)
    if settings.simulator == "windfarm" and settings.allowed_share:
        raise InputError("--allow-failed has no effect on the embedded box, whose runs do not fail.")
    return settings.resolved()


def _run(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from flowcal.execution import run_chapters
    from flowcal.study import TIME_LIMIT

    settings = _settings(options)
    if options.time_limit is not None:
        if settings.simulator == "windfarm":
            raise InputError("--time-limit has no effect on the embedded box; it is for --simulator executable:PATH.")
        os.environ[TIME_LIMIT] = str(options.time_limit)
    run_chapters(options.chapters, replace(settings, scheduler=options.scheduler))


def _status(options: argparse.Namespace) -> None:
    from flowcal.chapters import EDITED, states, unpaired_edits

    for name, found in states(_settings(options)).items():
        run = found.execution
        when = f"{run.finished}  {run.wall_time_s:7.1f} s  " if run else ""
        print(visible(f"{name:<14}{found.state:<9}{when}{found.reason}".rstrip()))
    for pair in unpaired_edits():
        print(visible(f"note: {pair} {EDITED}"))


def _book(options: argparse.Namespace) -> None:
    from flowcal.chapters import Settings
    from flowcal.report.book import build_book, print_book

    settings = _settings(options)
    if options.published and settings != Settings():
        raise InputError("--published renders what book/published keeps; expected no settings with it.")
    render = print_book if options.pdf else build_book
    print(f"the book: {render(None if options.published else settings)}")


def _publish(options: argparse.Namespace) -> None:
    from flowcal.report.book import publish

    publish(_settings(options))


def _score(options: argparse.Namespace) -> None:
    from flowcal.challenge import PUBLISHED
    from flowcal.report.replication import write_boxes, write_readings, write_replication
    from flowcal.report.truth import score_box
    from flowcal.study import check_scheduler

    check_scheduler(options.scheduler)
    for team, entry in PUBLISHED.items():
        score = score_box(entry)
        verdict = "holds" if score["contains"] else "misses"
        print(f"{team}: E {verdict} the true X_e; volume {score['volume']:.1e}; off by {score['least_distance']:.3f}")
    if options.systems:
        summary = write_replication(options.systems, options.paper_systems, options.design_systems, options.scheduler)
        print(json.dumps(summary, indent=1))
    if options.boxes:
        write_boxes(options.boxes, options.scheduler)
    if options.readings:
        write_readings(options.readings, options.rebuilds, options.scheduler)


def _pair(options: argparse.Namespace) -> None:
    from flowcal.report.book import store_outputs

    store_outputs()


def _export(options: argparse.Namespace) -> None:
    from flowcal.report.export import export_submission
    from flowcal.study import Study

    for path in export_submission(Study("export", **vars(_settings(options))), options.folder):
        print(path)


def _fetch(options: argparse.Namespace) -> None:
    from flowcal.simulate.observed import fetch_organisers_file

    print(fetch_organisers_file())


def _simulate(options: argparse.Namespace) -> None:
    from flowcal.simulate.program import read_runs, remove_output, write_output
    from flowcal.simulate.windfarm import WindFarm

    remove_output(options.output, options.input)
    write_output(options.output, WindFarm().simulate(*read_runs(options.input)))
