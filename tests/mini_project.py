"""A project of small chapters, for tests of how chapters are run."""

import subprocess
import sys
import time

import nbformat
import pytest

PARAMETERS = """# %% tags=["parameters"]
profile = "quick"
simulator = "windfarm"
observations = "embedded"
scheduler = None
allowed_share = 0.0
samples = 16
"""

FIRST = f"""# %% [markdown]
# # First

{PARAMETERS}
# %%
from flowcal.simulate.sensitivity import sobol
from flowcal.study import Study

study = Study("first", profile, simulator, observations, scheduler, allowed_share)
kept = study.keep("indices", sobol, base_samples=samples, resamples=2, random_seed=1, **study.box)
print("runs", kept.attrs["runs"])
"""

SECOND = f"""{PARAMETERS}
# %%
from flowcal.study import Study

study = Study("second", profile, simulator, observations, scheduler, allowed_share)
kept = study.read("first", "indices")
print("second reads", kept.attrs["runs"])

# %%
study.claim("there are nine sources", kept.sizes["source"] == 9)
"""


class Project:
    """A folder with a table of contents and chapters, which tests edit and run."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "notebooks").mkdir()
        self.chapters = {}
        self.write("first", FIRST)
        self.write("second", SECOND)

    def path(self, name):
        """The chapter's text notebook."""
        return self.folder / "notebooks" / f"{list(self.chapters).index(name) + 1:02}_{name}.py"

    def write(self, name, text):
        """Write a chapter, a new one at the end."""
        self.chapters[name] = text
        self.path(name).write_text(text)
        lines = "".join(f"  - file: notebooks/{self.path(one).stem}\n" for one in self.chapters)
        (self.folder / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{lines}")

    def edit(self, name, old, new):
        """Replace a part of a chapter."""
        assert old in self.chapters[name]
        self.write(name, self.chapters[name].replace(old, new))

    def append(self, name, cell):
        """Add a code cell to a chapter."""
        self.write(name, f"{self.chapters[name]}\n# %%\n{cell}\n")

    def artifacts(self, profile="quick"):
        """Where they lie."""
        return self.folder / "artifacts" / profile

    def printed(self, name, profile="quick"):
        """What a chapter's execution printed."""
        cells = nbformat.read(self.artifacts(profile) / name / "chapter.ipynb", as_version=4).cells
        return "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.get("name") == "stdout")

    def start(self, *arguments, **options):
        """Start the command `flowcal` as another process."""
        command = [sys.executable, "-m", "flowcal", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, text=True, **streams, **options)

    def wait_for(self, name):
        """Wait until a file of this name is there."""
        while not (self.folder / name).exists():
            time.sleep(0.05)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two small chapters as the working folder; the second reads what the first keeps."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
