"""Jupyter's settings for this project; .ci/setup puts them into .venv.

A chapter is saved with the outputs that `flowcal pair` stores, so that running it changes no file that git knows.
"""

import json
from pathlib import Path

IGNORED = "nbval-ignore-output"


def keep_checked_outputs(model, path, contents_manager):
    """Drop the outputs that nbval does not compare from a notebook that is about to be saved, and notes of programs."""
    pair = Path(contents_manager.root_dir, path)
    if (
        model["type"] != "notebook"
        or pair.suffix != ".ipynb"
        or not (pair.exists() and pair.with_suffix(".py").exists())
    ):
        return
    content = model["content"]
    content["metadata"] = json.loads(pair.read_text(encoding="utf-8"))["metadata"]
    for count, cell in enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), 1):
        ignored = IGNORED in cell["metadata"].get("tags", [])
        cell["outputs"] = [] if ignored else [output for output in cell["outputs"] if output.get("name") != "stderr"]
        cell["execution_count"] = count


c.FileContentsManager.pre_save_hook = keep_checked_outputs  # noqa: F821, Jupyter defines c
