"""The book on paper: what is printed, and what is said where nothing can print."""

import shutil

import pytest

from flowcal.cli import main
from flowcal.report.book import PrintError, find_chromium, print_page


def test_without_a_chromium_it_is_said_at_once(in_project, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert main(["book", "--published", "--pdf"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "flowcal: there is no Chromium to print with; expected one of chromium, chromium-browser, google-chrome, "
        "google-chrome-stable on the path."
    ]


def test_a_page_becomes_a_pdf_with_its_headings_as_outline(tmp_path):
    try:
        find_chromium()
    except PrintError as error:
        pytest.skip(str(error))
    page, target = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text("<title>Two pages</title><h1>First</h1><h1 style='break-before: page'>Second</h1>")
    print_page(page, target)
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") == 2
    assert b"/Outlines" in content
