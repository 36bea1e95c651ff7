"""The book as one PDF: a headless Chromium prints the HTML file that holds all its pages."""

import shutil
from pathlib import Path

from flowcal.errors import FlowcalError

__all__ = ["PrintError", "find_chromium", "print_page"]

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARGINS = ("18mm", "18mm", "20mm", "18mm")  # top, right, bottom, left
PAPER_WIDTH = 658  # CSS pixels of A4 between these margins
FOOTER = """<div style="width: 100%; text-align: center; font: 8pt sans-serif; color: #444">
<span class="pageNumber"></span></div>"""
FIGURES_DRAWN = "[...document.querySelectorAll('.plotly-graph-div')].every(figure => figure.querySelector('.main-svg'))"
FORMULAS_SET = "!window.MathJax || MathJax.startup.promise.then(() => true)"


class PrintError(FlowcalError):
    """The book could not be printed."""


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
        top, right, bottom, left = MARGINS
        tab.pdf(
            path=target,
            format="A4",
            margin={"top": top, "right": right, "bottom": bottom, "left": left},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            print_background=True,
            outline=True,
            tagged=True,
        )
        browser.close()
