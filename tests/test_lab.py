"""The chapters in a real JupyterLab: opened, run, changed and saved in a headless Chromium."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

import pytest
from conftest import ROOT

CHAPTER = "notebooks/02_sensitivity.py"
PARAMETER = "sobol_base_samples = 2048"

# Texts that the open notebook has printed, by cell, once all is run; null while cells are running
PRINTED = """() => {
  const panel = jupyterapp.shell.currentWidget, cells = [...panel.content.model.cells];
  const code = cells.filter(cell => cell.type === 'code');
  if (panel.sessionContext.kernelDisplayStatus !== 'idle') return null;
  if (code.some(cell => cell.executionCount === null)) return null;
  const outputs = code.flatMap(cell => cell.outputs.toJSON());
  return outputs.map(output => output.ename ? `${output.ename}: ${output.evalue}` : output.text ?? '').join('');
}"""
CHANGE = """([was, becomes]) => {
  for (const cell of jupyterapp.shell.currentWidget.content.model.cells) {
    const source = cell.sharedModel.getSource();
    if (source.includes(was)) cell.sharedModel.setSource(source.replace(was, becomes));
  }
}"""


def git(folder, *arguments):
    options = {"cwd": folder, "check": True, "capture_output": True, "text": True}
    return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], **options).stdout


@pytest.fixture
def clone(tmp_path):
    """A repository with what the chapters need."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("_toc.yml", "pyproject.toml", "requirements.txt", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Start")
    return tmp_path


@pytest.fixture
def lab(clone):
    """Address of a JupyterLab that serves the clone, as `make lab` starts it."""
    if find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed; `make setup` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [
        "--IdentityProvider.token=",
        "--expose-app-in-browser",
        "--LabApp.news_url=None",
        f"--notebook-dir={clone}",
    ]
    private = {name: str(clone.parent / "jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    environment = os.environ | private | {"JUPYTER_CONFIG_PATH": str(ROOT / ".ci"), "OMP_NUM_THREADS": "1"}
    with (clone.parent / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=clone, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/lab"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=1)
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.5)
    time.sleep(1)
    yield address
    server.terminate()
    server.wait()


def open_as_notebook(tab, path):
    """What the menu 'Open With' does."""
    tab.evaluate("path => jupyterapp.commands.execute('docmanager:open', {path, factory: 'Jupytext Notebook'})", path)
    tab.wait_for_function("() => jupyterapp.shell.currentWidget?.sessionContext?.kernelDisplayStatus === 'idle'")


def run_all(tab):
    """Run all cells of the open notebook in a new kernel; what they print."""
    tab.get_by_role("menuitem", name="Kernel").click()
    tab.get_by_role("menuitem", name=re.compile("Restart Kernel and Run All Cells")).click()
    tab.locator(".jp-Dialog .jp-mod-accept").click()
    tab.wait_for_function(f"() => !({PRINTED})()")
    return tab.wait_for_function(PRINTED, timeout=300_000).json_value()


def save_and_sync(tab, clone):
    """Save as a person does, then let jupytext look at all pairs; the short git status that is left."""
    tab.evaluate("() => jupyterapp.shell.currentWidget.content.activate()")
    tab.keyboard.press("Control+s")
    tab.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    pairs = [str(path) for path in sorted((clone / "notebooks").glob("*.py"))]
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", *pairs], cwd=clone, check=True)
    return git(clone, "status", "--short").splitlines()


def test_a_chapter_is_run_changed_and_saved(lab, clone, browser):
    newer = clone / CHAPTER.replace(".py", ".ipynb")
    os.utime(newer, (time.time() + 60,) * 2)  # as `flowcal pair` leaves it
    tab = browser.new_page()
    tab.goto(f"{lab}?reset")
    tab.wait_for_selector("#jp-main-dock-panel", timeout=60_000)
    tab.wait_for_function(
        "() => [...jupyterapp.docRegistry.widgetFactories()].some(f => f.name === 'Jupytext Notebook')"
    )
    open_as_notebook(tab, CHAPTER)

    printed = run_all(tab)
    assert printed.count("holds: ") > 10
    assert "Error" not in printed
    assert save_and_sync(tab, clone) == []

    tab.evaluate(CHANGE, [PARAMETER, PARAMETER.replace("2048", "1024")])
    again = run_all(tab)
    assert _claims(again) == _claims(printed)
    assert again != printed  # numbers that follow from the parameter
    assert save_and_sync(tab, clone) == [f" M {newer.relative_to(clone)}", f" M {CHAPTER}"]
    changed = [line for line in git(clone, "diff", "-U0", CHAPTER).splitlines() if re.match(r"[-+][^-+]", line)]
    assert [line for line in changed if "sobol_base_samples" in line] == changed
    assert len(changed) == 2


def _claims(printed):
    return [line for line in printed.splitlines() if line.startswith("holds: ")]
