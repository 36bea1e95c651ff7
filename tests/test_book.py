"""The rendered book: complete, without any other host, and drawn in a browser that has no network."""

import http.server
import json
import shutil
import threading
from functools import partial
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import ROOT

from flowcal.report.api_reference import page_of, public_modules
from flowcal.report.plotly_renderer import MIME

HTML = ROOT / "_build" / "html"
STAGED = ROOT / "_build" / "source" / "notebooks"
PAGES = [
    "book/index",
    "book/running",
    "book/clusters",
    "book/references",
    *(f"notebooks/{p.stem}" for p in sorted((ROOT / "notebooks").glob("*.py"))),
    *(f"book/api/{p.stem}" for p in sorted((ROOT / "book" / "api").glob("*.md"))),
]
MODULES = [f"book/api/{page_of(module)}" for module in public_modules()]
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}

# Backgrounds between a figure and the page that are not the page's own
PAINTED_BEHIND = """() => {
  const page = getComputedStyle(document.body).backgroundColor, painted = new Set();
  for (const figure of document.querySelectorAll('.plotly-figure')) {
    for (let e = figure; e !== document.body; e = e.parentElement) painted.add(getComputedStyle(e).backgroundColor);
  }
  return [...painted].filter(colour => colour !== page && colour !== 'rgba(0, 0, 0, 0)');
}"""

pytestmark = pytest.mark.skipif(not HTML.exists(), reason="the book has not been rendered; 'make book' renders it")


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(params=PAGES + MODULES)
def page(request):
    return request.param


@pytest.fixture
def text(page):
    return (HTML / f"{page}.html").read_text(encoding="utf-8")


@pytest.fixture
def elements(text):
    return Elements(text).found


def figures_of(page):
    """How many plotly figures a page's notebook has."""
    path = STAGED / f"{page.removeprefix('notebooks/')}.ipynb"
    if not path.exists():
        return 0
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return sum(MIME in output.get("data", {}) for output in outputs)


def test_nothing_is_loaded_from_another_host(elements):
    loaded = [attributes.get(LOADING[tag]) or "" for tag, attributes in elements if tag in LOADING]
    assert loaded
    assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))]


def test_every_picture_has_a_text_alternative(elements):
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    drawn = [attributes for tag, attributes in elements if attributes.get("role") == "img"]
    assert all(
        len(attributes.get("alt", "")) > 20 for attributes in pictures if "schematic" in attributes.get("class", "")
    )
    assert all("alt" in attributes for attributes in pictures)
    assert all(len(attributes["aria-label"]) > 20 for attributes in drawn)


def test_every_figure_of_the_notebook_is_on_the_page_with_a_caption(page, text):
    assert text.count('<figure class="plotly-figure">') == figures_of(page)
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


@pytest.fixture(scope="module")
def address():
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=HTML)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


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
    marks = "'.main-svg .trace, .main-svg .hm'"  # a heat map is no trace to plotly
    drawn = f"[...document.querySelectorAll('.plotly-figure')].filter(f => f.querySelector({marks})).length"
    tab.wait_for_function(f"{drawn} === {figures_of(page)}", timeout=20_000)
    tab.wait_for_function("!window.MathJax || MathJax.startup.promise.then(() => true)")
    math, typeset, broken = (
        tab.locator(selector).count() for selector in (".math", ".math mjx-container", "mjx-merror, [data-mjx-error]")
    )
    assert math == typeset
    assert broken == 0
    if figures_of(page):  # their text takes the colour of the page's
        colours = (
            "getComputedStyle(document.body).color === document.querySelector('.js-plotly-plot').layout.font.color"
        )
        tab.wait_for_function(colours, timeout=10_000)
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
