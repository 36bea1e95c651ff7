"""The rendered pages in a reader's hands: accessible, at home on a phone, light, linked, and good to take away."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from rendered import HTML, PAGES, elements_of, figures_of, loaded_by, needs_the_book, wait_until_drawn

pytestmark = needs_the_book

CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
WITH_FIGURES = "notebooks/02_sensitivity"
SERIOUS = ("serious", "critical")
PHONE = {"width": 390, "height": 844}
LIGHTEST = 1_500_000  # bytes that a page may weigh beyond what all pages share
QUICKEST = 1000  # milliseconds until its first content is painted

# Elements that reach beyond the window and are in no box that scrolls
OVERFLOWING = """() => [...document.querySelectorAll('article *, header *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (box.right <= innerWidth + 1 || box.width === 0) return false;
  for (let p = e.parentElement; p; p = p.parentElement) {
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
  }
  return true;
}).map(e => e.outerHTML.slice(0, 120))"""
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
FOCUSED = "document.activeElement"


@pytest.fixture(params=PAGES)
def page(request):
    return request.param


@pytest.fixture(scope="module")
def tab_of(browser):
    """Makes tabs in contexts of their own."""
    contexts = []

    def open_tab(**options):
        contexts.append(browser.new_context(**options))
        return contexts[-1].new_page()

    yield open_tab
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(request, tab_of):
    return tab_of(color_scheme=request.param, viewport={"width": 1280, "height": 900})


@pytest.fixture(scope="module")
def tab(tab_of):
    return tab_of(viewport={"width": 1280, "height": 900})


@pytest.fixture(scope="module")
def phone(tab_of):
    return tab_of(viewport=PHONE, has_touch=True, is_mobile=True)


def show(tab, page):
    """Open a page from the disk and wait until it stands."""
    tab.goto((HTML / f"{page}.html").as_uri())
    wait_until_drawn(tab, page)


def violations(tab):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{violation['impact']}: {violation['id']}: {node['html'][:150]}"
        for violation in found
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def test_axe_finds_nothing_serious(themed, page):
    show(themed, page)
    assert violations(themed) == []


def test_nothing_overflows_a_phone(phone, page):
    show(phone, page)
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert phone.evaluate(OVERFLOWING) == []


def test_links_lead_somewhere(page):
    here = HTML / f"{page}.html"
    addresses = [attributes["href"] for tag, attributes in elements_of(page) if tag == "a" and "href" in attributes]
    external = {address for address in addresses if urlsplit(address).scheme in ("http", "https", "mailto")}
    inside = {address for address in addresses if address not in external}
    print("\n".join(sorted(external)))
    assert inside
    assert sorted(address for address in inside if not leads_somewhere(here, address)) == []


def leads_somewhere(here, address):
    """Whether a relative address names a file of the book, and an element in it if it has an anchor."""
    parts = urlsplit(address)
    target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
    if not target.is_file() or HTML not in target.parents:
        return False
    return not parts.fragment or unquote(parts.fragment) in anchors(target)


def anchors(path):
    return {attributes.get("id") for _, attributes in elements_of(path.relative_to(HTML).with_suffix("").as_posix())}


def test_pages_weigh_little(page):
    here = HTML / f"{page}.html"
    loaded = {(here.parent / unquote(urlsplit(address).path)).resolve() for address in loaded_by(elements_of(page))}
    own = [path for path in loaded if path.is_file() and HTML / "_static" not in path.parents]
    assert sum(path.stat().st_size for path in {here, *own}) < LIGHTEST


def test_first_content_is_painted_at_once(tab, page):
    assert min(first_paint(tab, page) for _ in range(3)) < QUICKEST


def first_paint(tab, page):
    show(tab, page)
    tab.wait_for_function(f"{FIRST_PAINT} > 0")
    return tab.evaluate(FIRST_PAINT)
