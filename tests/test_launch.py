"""What jupyter-book makes of the configuration: buttons that open chapters elsewhere, and no book without numbers."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT


def build(folder):
    """Let jupyter-book build a folder, as somebody who does not know `make book` would."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(folder), "-q"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def source(tmp_path):
    """A book of one short notebook with the project's configuration."""
    (tmp_path / "notebooks").mkdir()
    cells = [nbformat.v4.new_markdown_cell("# A chapter"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "chapter.ipynb")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("published", "*.md"))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: notebooks/chapter\n")
    return tmp_path


@pytest.mark.parametrize("address", ["", "https://github.com/someone/flowcal"])
def test_chapters_open_on_binder_once_the_address_is_set(source, address):
    text = (source / "_config.yml").read_text()
    assert text.count('repository_url: ""') == 1
    (source / "_config.yml").write_text(text.replace('repository_url: ""', f'repository_url: "{address}"'))
    done = build(source)
    assert done.returncode == 0, done.stderr
    page = (source / "_build" / "html" / "notebooks" / "chapter.html").read_text()
    button = "https://mybinder.org/v2/gh/someone/flowcal/main?urlpath=lab/tree/notebooks/chapter.ipynb"
    assert (button in page) == bool(address)
    assert ("mybinder" in page) == bool(address)


def test_the_folder_of_the_project_is_not_built_without_make(source):
    shutil.copy(ROOT / "pyproject.toml", source)
    done = build(source)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("so this would be a book without numbers: use 'make book'.")
    assert not (source / "_build" / "html" / "notebooks" / "chapter.html").exists()
