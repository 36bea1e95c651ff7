"""What the book says of how it was made: a closing block on every chapter, and the minutes of all of them.

The stored outputs of the paired notebooks: what the quick profile printed, and nothing that machines disagree on.

The static book: chapters and pages staged in one folder, and rendered by jupyter-book without any network.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import plotly

from flowcal.chapters import (
    IGNORED_OUTPUT,
    Chapter,
    Provenance,
    Settings,
    executed_notebook,
    find_chapters,
    read_provenance,
    read_source,
)
from flowcal.errors import FlowcalError, InputError
from flowcal.report.api_reference import write_pages
from flowcal.report.benchmarks import benchmark_tables
from flowcal.report.printing import find_chromium, print_page
from flowcal.report.scorecard import read_scorecard, summary_table
from flowcal.report.tables import markdown_table
from flowcal.study import find_root

__all__ = [
    "BookError",
    "build_book",
    "closing_block",
    "minutes_table",
    "print_book",
    "publish",
    "store_outputs",
]

SHORT = 12  # hexadecimal digits of a digest, enough to tell artifacts apart
NOT_KEPT = "not kept"


def closing_block(provenance: Provenance | None) -> str:
    """A folded block in MyST Markdown, for the end of a chapter's page.

    Parameters
    ----------
    provenance : Provenance or None
        None says that the execution kept nothing of how it came about.

    Returns
    -------
    str
    """
    said = _said(provenance) if provenance else "The execution that this page shows has not kept how it was made."
    return f":::{{dropdown}} How this page was made\n:class-container: colophon\n\n{said}\n:::"


def minutes_table(executions: Mapping[str, Provenance | None]) -> str:
    """A Markdown table of executions, and of their sum.

    Parameters
    ----------
    executions : mapping of str to Provenance or None
        By a link to the chapter.

    Returns
    -------
    str
    """
    header = ["chapter", "profile", "execution [min]", "its artifacts [min]"]
    kept = [provenance for provenance in executions.values() if provenance]
    rows = [[chapter, *_times(provenance)] for chapter, provenance in executions.items()]
    total = ["**all**", "", *(_minutes(sum(map(seconds, kept))) if kept else NOT_KEPT for seconds in (_whole, _making))]
    return markdown_table(header, [*rows, total])


def _said(provenance: Provenance) -> str:
    parts = [
        f"flowcal {provenance.version}, profile `{provenance.profile}`. The execution took "
        f"{_minutes(_whole(provenance))} minutes. A digest is the first {SHORT} digits of the SHA-256 of "
        "an artifact's content."
    ]
    if provenance.made:
        rows = [
            [f"`{name}`", "–" if made.seed is None else made.seed, f"{made.wall_time_s:.1f}", _short(made.sha256)]
            for name, made in provenance.made.items()
        ]
        parts.append(markdown_table(["made here", "seed", "seconds", "digest"], rows))
    if provenance.made_from:
        rows = [[f"`{name}`", _short(digest)] for name, digest in provenance.made_from.items()]
        parts.append(markdown_table(["made from", "digest"], rows))
    return "\n\n".join(parts)


def _times(provenance: Provenance | None) -> list[str]:
    if provenance is None:
        return [NOT_KEPT] * 3
    return [f"`{provenance.profile}`", _minutes(_whole(provenance)), _minutes(_making(provenance))]


def _whole(provenance: Provenance) -> float:
    return provenance.wall_time_s


def _making(provenance: Provenance) -> float:
    return sum(made.wall_time_s for made in provenance.made.values())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _short(digest: str) -> str:
    return f"`{digest[:SHORT]}`"


def store_outputs() -> None:
    """Bring every `notebooks/*.ipynb` in step with its text and with its latest execution at the quick profile.

    Raises
    ------
    ChapterStale
        If a chapter has not been run at the quick profile, or something has changed since.
    """
    for chapter in find_chapters():
        executed = executed_notebook(chapter, Settings())
        nbformat.write(paired_notebook(chapter, executed), chapter.source.with_suffix(".ipynb"))


def paired_notebook(chapter: Chapter, executed: Path) -> nbformat.NotebookNode:
    """The chapter's text with the outputs of an executed notebook, less those that nbval does not compare."""
    outputs = {
        cell.id: cell.outputs for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"
    }
    notebook = read_source(chapter)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count  # nbval takes a cell without a count for one that was never run
        if IGNORED_OUTPUT not in cell.metadata.get("tags", []):
            cell.outputs = outputs[cell.id]
    return notebook


PUBLISHED, SCORECARD = Path("book", "published"), "scorecard.json"
MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"


class BookError(FlowcalError):
    """The book could not be rendered."""


def build_book(settings: Settings | None) -> Path:
    """Render executed chapters.

    Parameters
    ----------
    settings : Settings or None
        Whose execution to render; None renders the published one.

    Returns
    -------
    Path
        The book's first page.

    Raises
    ------
    BookError
        If jupyter-book finds anything to warn of.
    ChapterStale
        If a chapter's execution is missing or out of date.
    """
    return _render(settings, "html") / "index.html"


def print_book(settings: Settings | None) -> Path:
    """Render executed chapters as one PDF.

    Parameters
    ----------
    settings : Settings or None
        Whose execution to print; None prints the published one.

    Returns
    -------
    Path
        The PDF.

    Raises
    ------
    PrintError
        If there is no Chromium to print with.
    BookError, ChapterStale
        As `build_book` does.
    """
    find_chromium()  # before a minute is spent
    folder = _render(settings, "singlehtml")
    target = folder.parent / "flowcal.pdf"
    page = (folder / "book" / "index.html").replace(folder / "book.html")  # its links start from there
    print_page(page, target)
    return target


def publish(settings: Settings) -> None:
    """Keep the executed chapters of these settings, and their scorecard, in the repository, in `book/published`.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    ChapterStale
        If a chapter has not been run with them, or something has changed since.
    """
    for chapter in find_chapters():
        _copy(executed_notebook(chapter, settings), _published(chapter))
    _copy(settings.folder() / SCORECARD, find_root() / PUBLISHED / SCORECARD)


def _render(settings: Settings | None, builder: str) -> Path:
    """The folder that jupyter-book has rendered into, with nothing in it from before."""
    root = find_root()
    source = _stage(root, settings)
    folder = root / "_build" / builder
    shutil.rmtree(folder, ignore_errors=True)  # no page may outlive what it was made from
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
        *("build", str(source), "--path-output", str(root), "--builder", builder),
        *("--all", "-W", "-n", "--keep-going", "-q"),
    ]
    if subprocess.run(command, cwd=root).returncode != 0:
        raise BookError(f"jupyter-book could not render {source}; what it said stands above.")
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
        executions |= _sign(staged)
    (source / "book" / "minutes.md").write_text(minutes_table(executions), encoding="utf-8")
    scorecard = (settings.folder() if settings else root / PUBLISHED) / SCORECARD
    (source / "book" / "scorecard.md").write_text(summary_table(read_scorecard(scorecard)) + "\n", encoding="utf-8")
    tables = source / "book" / "benchmarks"
    tables.mkdir()
    for name, table in benchmark_tables(root / PUBLISHED / "benchmarks.json").items():
        (tables / f"{name}.md").write_text(table, encoding="utf-8")
    write_pages(source / "book" / "api")
    for script in (
        Path(plotly.__file__).parent / "package_data" / "plotly.min.js",
        Path(str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX))),
    ):
        _copy(script, source / "book" / "_static" / script.name)
    return source


def _sign(path: Path) -> dict[str, Provenance | None]:
    """Append to a staged chapter how it was made; returns that by a link to the chapter."""
    notebook = nbformat.read(path, as_version=4)
    try:
        provenance = read_provenance(notebook)
    except InputError as error:
        raise BookError(f"{path.name}: {error}") from error
    notebook.cells.append(nbformat.v4.new_markdown_cell(closing_block(provenance), id="how-it-was-made"))
    nbformat.write(notebook, path)
    return {f"[](../notebooks/{path.name})": provenance}


def _published(chapter: Chapter) -> Path:
    return find_root() / PUBLISHED / f"{chapter.source.stem}.ipynb"


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BookError(f"{source} is missing; 'make full' makes the chapters that 'flowcal publish' keeps there.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
