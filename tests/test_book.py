"""The rendered book: complete, without any other host, and drawn in a browser that has no network."""

import json

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from rendered import HTML, PAGES, STAGED, elements_of, figures_of, loaded_by, needs_the_book, wait_until_drawn
from surface import public_modules

from flowcal.provenance import read_provenance
from flowcal.report.plotly_renderer import MIME

MODULES = [f"book/api/{module}" for module in public_modules()]

# Backgrounds between a figure and the page that are not the page's own
PAINTED_BEHIND = """() => {
  const page = getComputedStyle(document.body).backgroundColor, painted = new Set();
  for (const figure of document.querySelectorAll('.plotly-figure')) {
    for (let e = figure; e !== document.body; e = e.parentElement) painted.add(getComputedStyle(e).backgroundColor);
  }
  return [...painted].filter(colour => colour !== page && colour !== 'rgba(0, 0, 0, 0)');
}"""

pytestmark = needs_the_book


@pytest.fixture(params=PAGES + MODULES)
def page(request):
    return request.param


@pytest.fixture
def text(page):
    return (HTML / f"{page}.html").read_text(encoding="utf-8")


@pytest.fixture
def elements(page):
    return elements_of(page)


def test_nothing_is_loaded_from_another_host(elements):
    loaded = loaded_by(elements)
    assert loaded
    assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))]


def test_every_picture_has_a_text_alternative(elements):
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    drawn = [attributes for tag, attributes in elements if attributes.get("class") == "plotly-figure"]
    assert all(
        len(attributes.get("alt", "")) > 20 for attributes in pictures if "schematic" in attributes.get("class", "")
    )
    assert all("alt" in attributes for attributes in pictures)
    assert all(len(attributes["aria-label"]) > 20 for attributes in drawn)


def test_every_figure_of_the_notebook_is_on_the_page_with_a_caption(page, text):
    assert text.count('<figure class="plotly-figure"') == figures_of(page)
    assert "<figcaption></figcaption>" not in text


def test_chapters_show_what_they_checked(page, text):
    if page.startswith("notebooks/"):
        assert "holds: " in text
        assert "does not hold here" not in text


def test_numbers_are_glued(text):
    assert "{glue:" not in text
    assert "np.int64(" not in text
    assert ">nan<" not in text


def test_pages_are_light(page):
    assert (HTML / f"{page}.html").stat().st_size < 1_500_000


def test_chapters_can_be_downloaded(page):
    if page.startswith("notebooks/"):
        downloaded = nbformat.read(HTML / "_sources" / f"{page}.ipynb", as_version=4)
        assert any(cell.get("outputs") for cell in downloaded.cells)


def test_no_address_of_this_machine_is_on_a_page(text):
    assert str(ROOT) not in text


@pytest.fixture(scope="module", params=["light", "dark"])
def window(request, browser, address):
    """A browser window of either theme whose network ends at the loopback, and all that its pages complained of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=request.param)
    complaints = []

    def local_only(route):
        if route.request.url.startswith(address):
            route.continue_()
        else:
            complaints.append(f"asked for {route.request.url}")
            route.abort()

    context.route("**/*", local_only)
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab, complaints
    context.close()


@pytest.mark.parametrize("page", [*PAGES, MODULES[0]])  # one for all that are made alike
def test_pages_open_without_complaint(window, page, address):
    tab, complaints = window
    complaints.clear()
    tab.goto(f"{address}/{page}.html")
    wait_until_drawn(tab, page)
    math, typeset, broken = (
        tab.locator(selector).count() for selector in (".math", ".math mjx-container", "mjx-merror, [data-mjx-error]")
    )
    assert math == typeset
    assert broken == 0
    if figures_of(page):  # their text takes the colour of the page's
        text = "getComputedStyle(document.querySelector('.plotly-figure .ytick text')).fill"
        assert tab.evaluate(f"{text} === getComputedStyle(document.body).color")
        assert tab.evaluate(PAINTED_BEHIND) == []  # nothing but the page's own background
    assert complaints == []


def test_search_finds_a_word(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/search.html?q=hypercube")
    tab.wait_for_selector("#search-results li", timeout=10_000)
    assert "Observations" in tab.inner_text("#search-results")
    tab.close()


def test_figures_describe_themselves():
    assert sum(figures_of(page) for page in PAGES) > 0
    for path in STAGED.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                figure = output.get("data", {}).get(MIME)
                if figure:
                    meta = figure["layout"]["meta"]
                    assert len(meta["caption"]) > 40, json.dumps(meta)
                    assert len(meta["alt"]) > 40, json.dumps(meta)


def test_chapters_say_how_they_were_made(page, text):
    if page.startswith("notebooks/"):
        kept = read_provenance(nbformat.read(HTML / "_sources" / f"{page}.ipynb", as_version=4))
        assert "How this page was made" in text
        assert ("has not kept how it was made" in text) == (kept is None)
        assert all(made.sha256[:12] in text for made in (kept.made if kept else {}).values())


def test_the_minutes_of_every_chapter_are_told():
    table = BeautifulSoup((HTML / "book" / "running.html").read_text(encoding="utf-8"), "html.parser").find("table")
    links = [link["href"] for link in table.find_all("a")]
    assert links == [f"../{page}.html" for page in PAGES if page.startswith("notebooks/")]
