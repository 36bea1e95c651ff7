"""The rendered pages in a reader's hands: accessible, at home on a phone, light, linked, and good to take away."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from rendered import HTML, PAGES, elements_of, loaded_by, needs_the_book, wait_until_drawn

from flowcal.report.book import PAPER_WIDTH

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
SCREEN_ONLY = ".bd-sidebar, .bd-header-article, .prev-next-area, .modebar, .save, .copybtn, summary"
HIGHEST = "Math.max(...[...document.querySelectorAll('.plotly-figure')].map(figure => figure.offsetHeight))"
PAGE_HEIGHT = 950  # CSS pixels of A4 between its margins


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
    return tab_of(color_scheme=request.param, reduced_motion="reduce", viewport={"width": 1280, "height": 900})


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
    tab.goto((HTML / f"{page}.html").as_uri())
    tab.wait_for_function(f"{FIRST_PAINT} > 0")
    return tab.evaluate(FIRST_PAINT)


def test_the_keyboard_reaches_the_text_first(tab):
    show(tab, CHAPTERS[0])
    tab.keyboard.press("Tab")
    assert tab.evaluate(f"{FOCUSED}.textContent") == "Skip to main content"
    tab.wait_for_function(f"{FOCUSED}.getBoundingClientRect().top >= 0")  # it slides in
    tab.keyboard.press("Enter")
    assert tab.evaluate("location.hash") == "#main-content"


def test_the_keyboard_unfolds_cells(tab):
    show(tab, CHAPTERS[0])
    folded = tab.locator("details.hide").first
    folded.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert folded.evaluate("cell => cell.open")
    assert folded.locator("pre").is_visible()
    tab.keyboard.press("Enter")
    assert not folded.evaluate("cell => cell.open")


def test_figures_do_not_trap_the_keyboard(tab):
    show(tab, CHAPTERS[0])
    tab.locator(".plotly-figure .modebar-btn").first.focus()
    left = False
    for _ in range(20):
        tab.keyboard.press("Tab")
        left = left or tab.evaluate(f"!{FOCUSED}.closest('.plotly-figure')")
    assert left
    assert tab.evaluate(f"{FOCUSED} !== document.body")


@pytest.mark.parametrize("page", CHAPTERS)
def test_tables_are_saved_as_they_stand(tab, page):
    show(tab, page)
    tab.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    buttons = tab.get_by_role("button", name="as CSV").all()
    tables = tables_of(page)
    assert len(buttons) == len(tables)
    names = set()
    for button, table in zip(buttons, tables, strict=True):
        with tab.expect_download() as saved:
            button.click()
        names.add(saved.value.suggested_filename)
        text = Path(saved.value.path()).read_bytes().decode("utf-8")
        assert list(csv.reader(io.StringIO(text, newline=""))) == table
    assert len(names) == len(tables)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+\.csv", name) for name in names), names


def tables_of(page):
    """The cells of a page's tables as its HTML has them, with formulas as TeX."""
    article = BeautifulSoup((HTML / f"{page}.html").read_text(encoding="utf-8"), "html.parser").article
    return [
        [[text_of(cell) for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]
        for table in article.find_all("table")
    ]


def text_of(cell):
    return " ".join(re.sub(r"\\[()]", "", cell.get_text()).split())


def test_figures_are_saved_as_svg_that_reads_on_white(tab_of):
    dark = tab_of(color_scheme="dark", viewport={"width": 1280, "height": 900})
    show(dark, WITH_FIGURES)
    with dark.expect_download() as saved:
        dark.locator(".plotly-figure [data-title^='Download']").first.click()
    assert re.fullmatch(r"sensitivity(-[a-z0-9]+)+\.svg", saved.value.suggested_filename)
    drawing = ElementTree.parse(saved.value.path())
    texts = [element for element in drawing.iter() if element.tag.endswith("}text")]
    assert "level of X_a1" in ["".join(text.itertext()) for text in texts]
    assert all(brightness(re.search(r"fill: rgb\((.*?)\)", text.get("style"))[1]) < 100 for text in texts)


def brightness(colour):
    return max(map(int, colour.split(",")))


def test_pictures_can_be_saved(tab):
    show(tab, CHAPTERS[0])
    links = tab.get_by_role("link", name="Save the picture").all()
    assert len(links) == tab.locator("article figure img").count() > 0
    for link in links:
        path = Path(unquote(urlsplit(link.evaluate("link => link.href")).path))
        assert path.is_file()
        assert path.suffix == ".svg"


def test_a_page_prints_without_what_paper_has_no_use_for(tab_of):
    paper = tab_of(viewport={"width": PAPER_WIDTH, "height": 900})
    show(paper, "notebooks/05_epistemic")  # has the highest figures
    assert paper.locator(SCREEN_ONLY).filter(visible=True).count() > 0
    on_screen = paper.evaluate(HIGHEST)
    paper.emulate_media(media="print")
    paper.wait_for_function(f"{HIGHEST} <= {PAGE_HEIGHT}")
    assert paper.locator(SCREEN_ONLY).filter(visible=True).count() == 0
    assert paper.evaluate("document.documentElement.scrollWidth") <= PAPER_WIDTH
    assert paper.evaluate(OVERFLOWING) == []
    assert paper.locator("details[open]").count() == 0
    paper.emulate_media(media="screen")
    paper.wait_for_function(f"{HIGHEST} === {on_screen}")


def test_search_works_from_the_disk(tab):
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{(HTML / 'search.html').as_uri()}?q=hypercube")
    tab.wait_for_selector("#search-results li", timeout=10_000)
    tab.wait_for_function("!document.querySelector('#search-results').innerText.includes('Searching')")
    found = tab.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("03_observations.html" in address for address in found)
    assert all(Path(unquote(urlsplit(address).path)).is_file() for address in found)
    assert complaints == []
