"""How executions came about: collected, kept in the notebook, read back with care, and said in the book."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from flowcal import __version__
from flowcal.artifacts import RECORD, ArtifactError, Shelf, note_file
from flowcal.errors import InputError
from flowcal.provenance import Made, Provenance, collect_provenance, keep_provenance, read_consumed, read_provenance
from flowcal.report import book
from flowcal.report.book import closing_block, minutes_table
from flowcal.simulate.sensitivity import seed_sweep
from flowcal.simulate.windfarm import WindFarm

DIGEST = "0123456789ab" + 52 * "c"
PROVENANCE = Provenance(
    version="0.1.0",
    profile="full",
    wall_time_s=90.0,
    made={
        "sobol": Made(sha256=DIGEST, seed=1, wall_time_s=60.0),
        "sweeps": Made(sha256=DIGEST[::-1].replace("c", "d"), seed=None, wall_time_s=6.0),
    },
    made_from={"observations/observed": DIGEST},
)


@pytest.fixture
def notebook():
    """With the provenance in its metadata, as it comes back from a file."""
    notebook = nbformat.v4.new_notebook()
    keep_provenance(notebook, PROVENANCE)
    return nbformat.reads(nbformat.writes(notebook), as_version=4)


def test_what_is_kept_is_read_back(notebook):
    assert read_provenance(notebook) == PROVENANCE


def test_notebooks_without_any_have_none():
    assert read_provenance(nbformat.v4.new_notebook()) is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("version", 1),
        ("version", "0.1.0 | <b>"),
        ("profile", "full\n"),
        ("wall_time_s", -1.0),
        ("wall_time_s", float("nan")),
        ("wall_time_s", "90"),
        ("made", [1]),
        ("made", {"../sobol": {"sha256": DIGEST, "seed": 1, "wall_time_s": 1.0}}),
        ("made", {"sobol": {"sha256": DIGEST[:12], "seed": 1, "wall_time_s": 1.0}}),
        ("made", {"sobol": {"sha256": DIGEST, "seed": True, "wall_time_s": 1.0}}),
        ("made", {"sobol": {"sha256": DIGEST, "seed": 1}}),
        ("made_from", {"observed": DIGEST}),
        ("made_from", {f"observations/observed_{n}": DIGEST for n in range(2000)}),
        ("more", "than is known"),
    ],
)
def test_what_is_of_another_form_is_refused(notebook, part, value):
    notebook.metadata["flowcal"][part] = value
    with pytest.raises(InputError, match="provenance cannot be used"):
        read_provenance(notebook)


@pytest.mark.parametrize("value", ["text", 1, [], {}])
def test_what_is_no_provenance_is_refused(notebook, value):
    notebook.metadata["flowcal"] = value
    with pytest.raises(InputError, match="provenance cannot be used"):
        read_provenance(notebook)


def test_what_a_chapter_keeps_and_reads_is_recorded(tmp_path, monkeypatch):
    Shelf(tmp_path, "first").keep("seeds", seed_sweep, simulator=WindFarm())
    record, data = tmp_path / "record", tmp_path / "data.txt"
    monkeypatch.setenv(RECORD, str(record))
    shelf = Shelf(tmp_path, "second")
    shelf.read("first", "seeds")
    for _ in range(2):  # made, and taken as it is
        shelf.keep("again", seed_sweep, simulator=WindFarm())
    note_file(data)
    data.write_text("it came later")
    note_file(data)
    monkeypatch.delenv(RECORD)
    shelf.keep("later", seed_sweep, simulator=WindFarm())

    used, files = read_consumed(record)
    assert list(used) == ["first/seeds", "second/again"]
    assert files == {str(data): None}
    provenance = collect_provenance(tmp_path, "second", used, "quick", 1.5)
    assert (provenance.version, provenance.profile, provenance.wall_time_s) == (__version__, "quick", 1.5)
    assert list(provenance.made) == ["again"]
    assert provenance.made["again"].seed is None
    assert provenance.made_from == {"first/seeds": provenance.made["again"].sha256}  # the same content


def test_what_is_gone_cannot_be_collected(tmp_path):
    with pytest.raises(ArtifactError, match="first/seeds is missing; run chapter 'first' first"):
        collect_provenance(tmp_path, "second", {"first/seeds": DIGEST}, "quick", 1.0)


def test_the_closing_block_says_it_all():
    block = closing_block(PROVENANCE)
    assert "flowcal 0.1.0, profile `full`. The execution took 1.5 minutes." in block
    assert "| `sobol` | 1 | 60.0 | `0123456789ab` |" in block
    assert "| `sweeps` | – | 6.0 | `dddddddddddd` |" in block
    assert "| `observations/observed` | `0123456789ab` |" in block


def test_the_closing_block_says_that_nothing_was_kept():
    assert "has not kept how it was made" in closing_block(None)


def test_the_table_of_minutes_adds_them_up():
    table = minutes_table({"one": PROVENANCE, "two": PROVENANCE, "three": None})
    assert "| one | `full` | 1.5 | 1.1 |" in table
    assert "| three | not kept | not kept | not kept |" in table
    assert "| **all** |  | 3.0 | 2.2 |" in table
    assert "| **all** |  | not kept | not kept |" in minutes_table({"three": None})


@pytest.fixture
def rendered(project, monkeypatch):
    """A project whose book was rendered before, and a function in place of jupyter-book."""
    html = project.folder / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("before")
    monkeypatch.setattr(book, "_stage", lambda root, settings: root)

    def render(text, code):
        @contextmanager
        def started(command, cwd):
            page = Path(command[command.index("--path-output") + 1], "_build", "html", "index.html")
            page.parent.mkdir(parents=True)
            page.write_text(text)
            yield SimpleNamespace(wait=lambda: code)

        monkeypatch.setattr(book, "started", started)
        return book.build_book(None)

    return html, render


def test_a_book_takes_the_place_of_the_last_one_once_it_is_complete(rendered):
    html, render = rendered
    assert render("now", 0) == html / "index.html"
    assert (html / "index.html").read_text() == "now"
    assert {file.name for file in html.parent.iterdir()} == {"html", "book.lock"}


def test_a_book_that_cannot_be_rendered_leaves_the_last_one(rendered):
    html, render = rendered
    with pytest.raises(book.BookError, match="could not render"):
        render("half", 1)
    assert (html / "index.html").read_text() == "before"
