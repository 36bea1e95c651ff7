"""The command `flowcal`."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowcal.errors import FlowcalError

if TYPE_CHECKING:
    from flowcal.chapters import Settings

__all__ = ["main"]

# What a verb needs is imported where it runs: `flowcal simulate` is started anew for every batch of runs.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is 0, 1 for an error of the library's own, or 128 and a signal's number."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as an exception, so that things end well
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
        sys.stdout.flush()
    except FlowcalError as error:
        print(f"flowcal: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # who reads our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"flowcal: {error.strerror or error}: {error.filename or 'a file'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("flowcal: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowcal", description="Run the study, or the black box alone.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    study = argparse.ArgumentParser(add_help=False)
    study.add_argument(
        "--profile", default="quick", help="how much to spend: quick, or the name of a file in profiles/"
    )
    study.add_argument("--simulator", default="windfarm", metavar="windfarm|executable:PATH")
    study.add_argument("--observations", default="embedded", metavar="embedded|organisers|DIR")
    study.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler to run campaigns on, tcp://host:port")
    study.add_argument(
        "--allow-failed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the runs of a training campaign that may be missing because they failed three times",
    )

    run = verbs.add_parser("run", parents=[study], help="execute chapters; without names, those that are not fresh")
    run.add_argument("chapters", nargs="*", metavar="CHAPTER")
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
    score.add_argument("--systems", type=int, default=100, help="synthetic real systems to judge our method on")
    score.add_argument("--paper-systems", type=int, default=5, help="how many of them for the paper's two steps")
    score.add_argument("--design-systems", type=int, default=20, help="for how many of them designs are made")
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


def _settings(options: argparse.Namespace) -> "Settings":
    from flowcal.chapters import Settings

    return Settings(options.profile, options.simulator, options.observations, options.scheduler, options.allow_failed)


def _run(options: argparse.Namespace) -> None:
    from flowcal.chapters import run_chapters

    run_chapters(options.chapters, _settings(options))


def _status(options: argparse.Namespace) -> None:
    from flowcal.chapters import states

    for name, found in states(_settings(options).resolved()).items():
        run = found.execution
        when = f"{run.finished}  {run.wall_time_s:7.1f} s  " if run else ""
        print(f"{name:<14}{found.state:<9}{when}{found.reason}".rstrip())


def _book(options: argparse.Namespace) -> None:
    from flowcal.report.book import build_book, print_book

    render = print_book if options.pdf else build_book
    print(f"the book: {render(None if options.published else _settings(options).resolved())}")


def _publish(options: argparse.Namespace) -> None:
    from flowcal.report.book import publish

    publish(_settings(options).resolved())


def _score(options: argparse.Namespace) -> None:
    from flowcal.challenge import PUBLISHED
    from flowcal.report.replication import write_replication
    from flowcal.report.truth import score_box

    for team, entry in PUBLISHED.items():
        score = score_box(entry)
        verdict = "holds" if score["contains"] else "misses"
        print(f"{team}: E {verdict} the true X_e; volume {score['volume']:.1e}; off by {score['least_distance']:.3f}")
    if options.systems:
        summary = write_replication(options.systems, options.paper_systems, options.design_systems, options.scheduler)
        print(json.dumps(summary, indent=1))


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
    from flowcal.simulate.program import read_runs, write_output
    from flowcal.simulate.windfarm import WindFarm

    write_output(options.output, WindFarm().simulate(*read_runs(options.input)))
