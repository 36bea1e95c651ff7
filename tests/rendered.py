"""The rendered book as its tests see it: where it lies, its pages and what is on them."""

import re
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import ROOT

from flowcal.report.plotly_renderer import MIME

HTML = ROOT / "_build" / "html"
STAGED = ROOT / "_build" / "source" / "notebooks"
PAGES = re.findall(r"^ *(?:root|- file): (\S+)$", (ROOT / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}

needs_the_book = pytest.mark.skipif(
    not HTML.exists(), reason="the book has not been rendered; 'make book' or 'make published' renders it"
)


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def elements_of(page):
    return Elements((HTML / f"{page}.html").read_text(encoding="utf-8")).found


def loaded_by(elements):
    """Addresses of all that a page of these elements loads."""
    return [attributes.get(LOADING[tag]) or "" for tag, attributes in elements if tag in LOADING]


def figures_of(page):
    """How many plotly figures a page's notebook has."""
    path = STAGED / f"{page.removeprefix('notebooks/')}.ipynb"
    if not path.exists():
        return 0
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return sum(MIME in output.get("data", {}) for output in outputs)


def wait_until_drawn(tab, page):
    """Wait for the page's figures and formulas."""
    marks = "'.main-svg .trace, .main-svg .hm'"  # a heat map is no trace to plotly
    drawn = f"[...document.querySelectorAll('.plotly-figure')].filter(f => f.querySelector({marks})).length"
    tab.wait_for_function(f"{drawn} === {figures_of(page)}", timeout=60_000)
    tab.wait_for_function("!window.MathJax || MathJax.startup.promise.then(() => true)")
