"""The static book: how its pages were made, the notebooks' stored outputs, and rendering as HTML or PDF.

Nothing needs a network. For the PDF, a headless Chromium prints the HTML file that holds all pages. The picture of the
landing page and the README is drawn from the scorecard.
"""

import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nbformat
import plotly
from jupytext.config import load_jupytext_config
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowcal.challenge import PUBLISHED as PUBLISHED_ENTRIES
from flowcal.chapters import (
    EDITED,
    IGNORED_OUTPUT,
    Chapter,
    Settings,
    executed_notebook,
    find_chapters,
    read_source,
    unpaired_edits,
)
from flowcal.errors import FlowcalError, InputError
from flowcal.files import read_record, replaced, started, temporary_folder
from flowcal.pace import SECONDS
from flowcal.provenance import Provenance, read_provenance, sign_text
from flowcal.report.benchmarks import benchmark_tables
from flowcal.report.figures.style import BLUE, GREEN, GREY, ORANGE, RED
from flowcal.report.scorecard import TOLERANT, Scorecard, summary_table
from flowcal.report.tables import markdown_table
from flowcal.study import find_root, locked

__all__ = [
    "BookError",
    "PrintError",
    "build_book",
    "closing_block",
    "draw_answer",
    "find_chromium",
    "minutes_table",
    "print_book",
    "print_page",
    "publish",
    "store_outputs",
]

SHORT = 12  # hexadecimal digits of a digest, enough to tell artifacts apart
NOT_KEPT = "not kept"
PUBLISHED, SCORECARD = Path("book", "published"), "scorecard.json"
MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARGINS: Any = {"top": "18mm", "right": "18mm", "bottom": "20mm", "left": "18mm"}
PAPER_WIDTH = 658  # CSS pixels of A4 between these margins
FOOTER = """<div style="width: 100%; text-align: center; font: 8pt sans-serif; color: #444">
<span class="pageNumber"></span></div>"""
PRINTED: dict[str, Any] = {
    **{"display_header_footer": True, "header_template": "<span></span>", "footer_template": FOOTER},
    **{"format": "A4", "print_background": True, "outline": True, "tagged": True},
}
FIGURES_DRAWN = "[...document.querySelectorAll('.plotly-graph-div')].every(figure => figure.querySelector('.main-svg'))"
FORMULAS_SET = "!window.MathJax || MathJax.startup.promise.then(() => true)"

STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "flowcal",  # the same file each time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
}


class BookError(FlowcalError):
    """The book could not be rendered."""


class PrintError(FlowcalError):
    """The book could not be printed."""


def closing_block(provenance: Provenance | None) -> str:
    """How a chapter's page was made, as a folded block of MyST Markdown; None where the execution did not record it."""
    said = _said(provenance) if provenance else "The execution that this page shows has not kept how it was made."
    return f":::{{dropdown}} How this page was made\n:class-container: colophon\n\n{said}\n:::"


def _said(provenance: Provenance) -> str:
    parts = [
        f"flowcal {provenance.version}, profile `{provenance.profile}`. The execution took "
        f"{_minutes(provenance.wall_time_s)} minutes. A digest is the first {SHORT} digits of the SHA-256 of "
        "an artifact's content."
    ]
    if provenance.made:
        rows = [
            (f"`{name}`", "–" if made.seed is None else made.seed, f"{made.wall_time_s:.1f}", _short(made.sha256))
            for name, made in provenance.made.items()
        ]
        parts.append(markdown_table(["made here", "seed", "seconds", "digest"], rows))
    if provenance.made_from:
        rows_from = [(f"`{name}`", _short(digest)) for name, digest in provenance.made_from.items()]
        parts.append(markdown_table(["made from", "digest"], rows_from))
    return "\n\n".join(parts)


def minutes_table(executions: Mapping[str, Provenance | None]) -> str:
    """A Markdown table of executions, named by a link to their chapter, and of their sum."""
    header = ["chapter", "profile", "execution [min]", "its artifacts [min]"]
    rows = [(chapter, *_times(provenance)) for chapter, provenance in executions.items()]
    known = [provenance for provenance in executions.values() if provenance]
    whole, making = sum(row.wall_time_s for row in known), sum(map(_making, known))
    total = (_minutes(whole), _minutes(making)) if known else (NOT_KEPT, NOT_KEPT)
    return markdown_table(header, [*rows, ("**all**", "", *total)])


def _times(provenance: Provenance | None) -> tuple[str, str, str]:
    if provenance is None:
        return NOT_KEPT, NOT_KEPT, NOT_KEPT
    return f"`{provenance.profile}`", _minutes(provenance.wall_time_s), _minutes(_making(provenance))


def _making(provenance: Provenance) -> float:
    return sum(made.wall_time_s for made in provenance.made.values())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _short(digest: str) -> str:
    return f"`{digest[:SHORT]}`"


def store_outputs() -> None:
    """Bring every `notebooks/*.ipynb` in step with its text and with its latest execution at the quick profile."""
    if edited := unpaired_edits():
        raise InputError(f"{edited[0]} {EDITED}")
    for chapter in find_chapters():
        notebook = paired_notebook(chapter, executed_notebook(chapter, Settings()))
        with replaced(chapter.source.with_suffix(".ipynb")) as draft:
            nbformat.write(notebook, draft)


def paired_notebook(chapter: Chapter, executed: Path) -> nbformat.NotebookNode:
    """The chapter's text with the outputs of an executed notebook, without those that nbval does not compare."""
    source = nbformat.read(executed, as_version=4)
    outputs = {cell.id: cell.get("outputs") for cell in source.cells}
    notebook, pair = read_source(chapter), chapter.source.with_suffix(".ipynb")
    notes: dict[str, Any] = {}  # jupytext's own, as `jupytext --sync` writes them
    if settings := load_jupytext_config(str(pair)):
        settings.set_default_format_options(notes)
    notebook.metadata["jupytext"] = notes
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count  # nbval takes a cell without a count for one that was never run
        if IGNORED_OUTPUT not in cell.metadata.get("tags", []):
            cell.outputs = outputs[cell.id]
    sign_text(notebook)
    if provenance := read_provenance(source):  # an execution takes artifacts that are still true as they are
        notebook.metadata[SECONDS] = round(max(provenance.wall_time_s, _making(provenance)), 1)
    return notebook


def build_book(settings: Settings | None) -> Path:
    """Render the chapters executed with these settings, or for None the published ones; returns the first page.

    Fails with a `BookError` if jupyter-book warns of anything, and with a `ChapterStale` if a chapter's execution is
    missing or out of date.
    """
    return _render(settings, "html") / "index.html"


def print_book(settings: Settings | None) -> Path:
    """Render the same chapters as `build_book` as one PDF; fails with a `PrintError` if there is no Chromium."""
    find_chromium()  # before a minute is spent
    folder = _render(settings, "singlehtml")
    target = folder.parent / "flowcal.pdf"
    page = (folder / "book" / "index.html").replace(folder / "book.html")  # its links start from there
    with replaced(target) as draft:
        print_page(page, draft)
    return target


def publish(settings: Settings) -> None:
    """Copy the chapters executed with these settings and their scorecard to `book/published`, and draw the picture."""
    root = find_root()
    for chapter in find_chapters():
        _copy(executed_notebook(chapter, settings), _published(chapter))
    card = read_record(Scorecard, settings.folder() / SCORECARD)
    _copy(settings.folder() / SCORECARD, root / PUBLISHED / SCORECARD)
    draw_answer(card, root / "book" / "images" / "answer.svg")


def _render(settings: Settings | None, builder: str) -> Path:
    """The folder that jupyter-book has rendered into, which takes the place of an earlier one once it is complete."""
    root = find_root()
    lock = locked(root / "_build" / "book.lock", "another command that is rendering the book in this folder")
    with lock, temporary_folder() as private:
        source = _stage(root, settings)
        command = [
            *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
            *("build", str(source), "--path-output", str(private), "--builder", builder),
            *("--all", "-W", "-n", "--keep-going", "-q"),
        ]
        with started(command, cwd=root) as process:
            if process.wait() != 0:
                raise BookError(f"jupyter-book could not render {source}; what it said stands above.")
        return _moved(private / "_build" / builder, root / "_build" / builder)


def _moved(new: Path, folder: Path) -> Path:
    """The folder, with what the new one holds in place of what it held; there is no moment at which it holds a part."""
    draft, old = (folder.with_name(f".{folder.name}.{name}") for name in ("draft", "old"))
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.move(new, draft)
    if folder.exists() or folder.is_symlink():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def _stage(root: Path, settings: Settings | None) -> Path:
    """A fresh folder with all that jupyter-book reads, under the same names whatever was executed."""
    source = root / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("published"))
    for name in ("_config.yml", "_toc.yml"):
        _copy(root / name, source / name)
    executions: dict[str, Provenance | None] = {}
    for chapter in find_chapters():
        executed = executed_notebook(chapter, settings) if settings else _published(chapter)
        staged = source / "notebooks" / f"{chapter.source.stem}.ipynb"
        _copy(executed, staged)
        executions[f"[](../notebooks/{staged.name})"] = _sign(staged)
    card = read_record(Scorecard, (settings.folder() if settings else root / PUBLISHED) / SCORECARD)
    pages = {"minutes": minutes_table(executions), "scorecard": summary_table(card) + "\n"}
    tables = benchmark_tables(root / PUBLISHED / "benchmarks.json")
    (source / "book" / "benchmarks").mkdir()
    for name, text in (pages | {f"benchmarks/{name}": table for name, table in tables.items()}).items():
        (source / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    for script in (
        Path(plotly.__file__).parent / "package_data" / "plotly.min.js",
        Path(str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX))),
    ):
        _copy(script, source / "book" / "_static" / script.name)
    return source


def _sign(path: Path) -> Provenance | None:
    """Append to a staged chapter how it was made, and return that."""
    notebook = nbformat.read(path, as_version=4)
    try:
        provenance = read_provenance(notebook)
    except InputError as error:
        raise BookError(f"{path.name}: {error}") from error
    notebook.cells.append(nbformat.v4.new_markdown_cell(closing_block(provenance), id="how-it-was-made"))
    nbformat.write(notebook, path)
    return provenance


def _published(chapter: Chapter) -> Path:
    return find_root() / PUBLISHED / f"{chapter.source.stem}.ipynb"


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BookError(f"{source} is missing; 'make full' makes the chapters that 'flowcal publish' keeps there.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(target) as draft:
        shutil.copy(source, draft)


def find_chromium() -> str:
    """Path of the Chromium or Chrome on this machine, or a `PrintError`."""
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        raise PrintError(f"there is no Chromium to print with; expected one of {', '.join(PROGRAMS)} on the path.")
    return path


def print_page(page: Path, target: Path) -> None:
    """Print an HTML file as PDF with page numbers and an outline, once its formulas are set and its figures drawn."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        tab = browser.new_page(viewport={"width": PAPER_WIDTH, "height": 900}, color_scheme="light")
        tab.emulate_media(media="print")
        tab.goto(page.absolute().as_uri())
        for ready in (FORMULAS_SET, FIGURES_DRAWN):
            tab.wait_for_function(ready, timeout=300_000)
        tab.pdf(path=target, margin=MARGINS, **PRINTED)
        browser.close()


def draw_answer(card: Scorecard, path: Path) -> None:
    """Write the picture of the landing page as SVG: volumes of sets E, and power against reliability of designs."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.8, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_sets(left, card)
        _draw_designs(right, card)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_sets(axes: Axes, card: Scorecard) -> None:
    """A row for every E: its volume, filled where it contains the truth."""
    rows = [
        ("the paper's way, rebuilt", "UM1", GREY),
        *((f"{team}, published", team, RED) for team in PUBLISHED_ENTRIES),
        ("this book, control points\nknown to 0.001", TOLERANT, BLUE),
        ("this book", "UM2", BLUE),
    ]
    names, sources, colors = zip(*rows, strict=True)
    volumes, places = [card.epistemic[source].volume for source in sources], range(len(rows))
    axes.hlines(places, volumes, 1, colors, linewidth=1.5)
    faces = [color if card.epistemic[name].contains else "white" for _, name, color in rows]
    axes.scatter(volumes, places, s=60, c=faces, edgecolors=colors, linewidths=1.5, zorder=3)
    axes.set(xscale="log", xlim=(1e-16, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="volume of E, share of the unit cube")
    axes.set_yticks(places, names)
    axes.set_title("How small E is (open: misses the truth)", loc="left", fontsize=9.5)


def _draw_designs(axes: Axes, card: Scorecard) -> None:
    """Power against the probability of failure of every design, all judged by the truth."""
    verdicts = [(row.source, row.judged) for row in card.designs if row.judged] + [("baseline", card.baseline)]
    for source, label, color, symbol in (
        ("truth", "best, the truth being known", ORANGE, "s"),
        ("UM2", "this book", BLUE, "o"),
        ("Wang et al.", "Wang et al., published", RED, "D"),
        ("Roy Sarkar et al.", "Roy Sarkar et al., published", GREEN, "^"),
        ("baseline", "baseline", GREY, "X"),
    ):
        chosen = [verdict for by, verdict in verdicts if by == source]
        j = [card.best_j + verdict.difference for verdict in chosen]
        pof = [verdict.pof or verdict.upper for verdict in chosen]
        size = 130 if source == "truth" else 50
        axes.scatter(pof, j, s=size, c=color, marker=symbol, label=label, edgecolors="white", linewidths=0.7)
    axes.set(xscale="log", xlabel="probability of failure in an hour", ylabel="expected power J [MW]")
    axes.margins(y=0.08)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.set_title("What designs give and risk", loc="left", fontsize=9.5)
