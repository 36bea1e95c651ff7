"""The static book: chapters and pages staged in one folder, and rendered by jupyter-book without any network."""

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import plotly

from flowcal.chapters import Settings, find_chapters
from flowcal.errors import FlowcalError
from flowcal.study import find_root

__all__ = ["BookError", "build_book"]

MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"


class BookError(FlowcalError):
    """The book could not be rendered."""


def build_book(settings: Settings) -> Path:
    """Render the executed chapters of these settings.

    Returns
    -------
    Path
        The book's first page.

    Raises
    ------
    BookError
        If a chapter has not been run, or jupyter-book finds anything to warn of.
    """
    root = find_root()
    source = _stage(root, settings)
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
        *("build", str(source), "--path-output", str(root), "--all", "-W", "-n", "--keep-going", "-q"),
    ]
    if subprocess.run(command, cwd=root).returncode != 0:
        raise BookError(f"jupyter-book could not render {source}; what it said stands above.")
    return root / "_build" / "html" / "index.html"


def _stage(root: Path, settings: Settings) -> Path:
    """A fresh folder with all that jupyter-book reads."""
    source = root / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("published"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    (source / "notebooks").mkdir()
    for chapter in find_chapters():
        executed = chapter.executed(settings.folder())
        if not executed.exists():
            raise BookError(
                f"chapter {chapter.name!r} has not been run; run 'flowcal run --profile {settings.profile}'."
            )
        shutil.copy(executed, source / "notebooks" / f"{chapter.source.stem}.ipynb")
    for script in (
        Path(plotly.__file__).parent / "package_data" / "plotly.min.js",
        Path(str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX))),
    ):
        shutil.copy(script, source / "book" / "_static")
    return source
