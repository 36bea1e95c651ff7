"""How `.venv` is made: what .ci/setup says and does, with a stand-in for Python that installs nothing."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

SETUP = [".ci/setup", ".ci/torch.txt", ".ci/jupyter_server_config.py", "requirements.txt", "pyproject.toml"]
NO_NETWORK = "connection broken by 'NewConnectionError('Temporary failure in name resolution')': /simple/alabaster/"
NO_VERSION = "ERROR: No matching distribution found for alabaster"

# A stand-in for Python without the costly modules: FAKE_VERSION sets its version, FAKE_PIP what pip does
STAND_IN = f"""#!/bin/sh
case "$*" in
  "-c import venv, ensurepip") exit ${{FAKE_NO_VENV:-0}} ;;
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip --version"*) ;;
  *"-m pip"*) echo "$*" >>calls; eval "${{FAKE_PIP:-}}" ;;
  *) exec "{sys.executable}" -c '
import os, sys
if "FAKE_VERSION" in os.environ:
    sys.version_info = tuple(map(int, os.environ["FAKE_VERSION"].split(".")))
code = sys.argv[2]
sys.argv[1:3] = []
exec(code)' "$@" ;;
esac
"""


class Clone:
    """A folder with what the set-up reads, and the stand-in for Python."""

    def __init__(self, folder):
        self.folder = folder
        for name in SETUP:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.python = folder / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)

    def start(self, **settings):
        """Start the set-up as `make` does."""
        known = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "TORCH", "PIP_ARGS")}
        environment = known | {"PYTHON": str(self.python)} | settings
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(["sh", ".ci/setup"], cwd=self.folder, env=environment, text=True, **streams)

    def set_up(self, **settings):
        """What the set-up says, line by line, and its exit code."""
        process = self.start(**settings)
        lines = process.communicate(timeout=60)[0].splitlines()
        return [line.removeprefix("set-up: ") for line in lines], process.returncode

    def calls(self):
        """How often pip was asked to install, since the last time of asking."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return len(lines)


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "mit Umläuten"
    folder.mkdir()
    return Clone(folder)


def test_everything_is_installed_once(clone):
    lines, code = clone.set_up()
    assert code == 0
    assert re.match(r"installing \d+ packages \(300 MB\) and PyTorch \(190 MB, .* for Python 3", lines[0])
    assert re.match(r"done in \d+ s", lines[-1])
    assert clone.calls() == 3
    assert (clone.folder / ".venv/etc/jupyter/jupyter_server_config.py").is_file()
    assert clone.set_up() == ([], 0)
    assert clone.calls() == 0


@pytest.mark.parametrize("version", ["3.10.13", "3.9.18"])
def test_an_old_python_is_refused_in_one_line(clone, version):
    (line,), code = clone.set_up(FAKE_VERSION=version)
    assert code == 1
    assert f"is Python {version}" in line
    assert "expected 3.11 or newer" in line
    assert not (clone.folder / ".venv").exists()


def test_the_python_of_debian_is_new_enough(clone):
    assert clone.set_up(FAKE_VERSION="3.11.2")[1] == 0


def test_a_missing_python_is_named_in_one_line(clone):
    (line,), code = clone.set_up(PYTHON="python3.99")
    assert (line, code) == ("there is no python3.99; expected Python 3.11 or newer, named by PYTHON=...", 1)


def test_a_missing_venv_module_is_named_in_one_line(clone):
    (line,), code = clone.set_up(FAKE_NO_VENV="1")
    assert code == 1
    assert line.endswith(
        "cannot make virtual environments; expected its module venv (on Debian: apt-get install python3-venv)"
    )


def test_without_a_network_one_line_says_so(clone):
    (*_, line), code = clone.set_up(FAKE_PIP=f'echo "{NO_NETWORK}"; echo "{NO_VERSION}"; exit 1')
    assert code == 1
    assert "no package registry can be reached" in line


def test_what_else_stops_pip_is_told_in_its_own_words(clone):
    (*_, line), code = clone.set_up(FAKE_PIP=f'echo "{NO_VERSION}"; exit 1')
    assert code == 1
    assert NO_VERSION in line


def test_without_the_page_of_processor_builds_pip_takes_what_it_finds(clone):
    lines, code = clone.set_up(FAKE_PIP='case "$*" in *--no-index*) exit 1 ;; esac')
    assert code == 0
    assert sum("PyTorch's own page cannot be reached" in line for line in lines) == (sys.platform == "linux")


def test_an_install_that_stopped_is_made_anew(clone):
    clone.set_up(FAKE_PIP="kill -9 $PPID")
    assert clone.calls() == 1
    lines, code = clone.set_up()
    assert (lines[0], code) == ("making .venv anew, since an earlier set-up did not finish", 0)


def test_another_interpreter_makes_it_anew_and_none_keeps_it(clone):
    clone.set_up()
    other = clone.folder / ".venv" / "bin" / "python"
    other.write_text(
        STAND_IN.replace('"FAKE_VERSION" in os.environ', "True").replace('os.environ["FAKE_VERSION"]', '"3.12.1"')
    )
    lines, _ = clone.set_up()
    assert lines[0].startswith("making .venv anew, since it has Python 3.12.1")
    clone.calls()
    assert clone.set_up(PYTHON="") == ([], 0)
    assert clone.calls() == 0


def test_a_python_that_has_become_too_old_makes_it_anew(clone):
    clone.set_up()
    project = clone.folder / "pyproject.toml"
    project.write_text(re.sub("^requires-python = .*", 'requires-python = ">=3.98"', project.read_text(), flags=re.M))
    (line,), code = clone.set_up(PYTHON="")
    assert code == 1
    assert "expected 3.98 or newer" in line


def test_a_moved_folder_makes_it_anew(clone):
    clone.set_up()
    there = clone.folder.with_name("elsewhere")
    clone.folder.rename(there)
    clone.python, clone.folder = there / "python", there
    lines, code = clone.set_up()
    assert code == 0
    assert lines[0].endswith("mit Umläuten")
    assert lines[0].startswith("making .venv anew, since the folder was ")


def test_the_other_build_of_pytorch_is_taken_when_asked_for(clone):
    clone.set_up()
    lines, _ = clone.set_up(TORCH="cuda")
    assert lines[0] == "making .venv anew, since it has PyTorch for cpu, and cuda is asked for"
    assert clone.set_up() == ([], 0)


def test_new_pins_are_installed_into_what_there_is(clone):
    clone.set_up()
    (clone.folder / ".venv" / "mark").touch()
    (clone.folder / "requirements.txt").write_text("alabaster==0.7.16\n")
    assert clone.set_up()[1] == 0
    assert (clone.folder / ".venv" / "mark").exists()


def test_two_at_once_wait_for_each_other(clone):
    first, second = (clone.start(FAKE_PIP="sleep 0.3") for _ in range(2))
    said = first.communicate(timeout=60)[0] + second.communicate(timeout=60)[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert said.count("waiting for another make") == 1
    assert clone.calls() == 3


def test_a_link_to_an_environment_is_left_alone(clone, tmp_path):
    (tmp_path / "shared").mkdir()
    (clone.folder / ".venv").symlink_to(tmp_path / "shared")
    assert clone.set_up() == ([], 0)
    assert clone.calls() == 0
