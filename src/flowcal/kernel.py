"""The kernel in which `flowcal run` executes a chapter: ipykernel, with a note of every file that is read."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from flowcal.artifacts import note_file

__all__ = ["main", "watch_files"]

IGNORED = ("artifacts", "_build", ".venv", ".git", "src")  # results, and what has fingerprints of its own


def watch_files(root: Path) -> None:
    """Note every file of the project that this process opens for reading, helpers and data beside notebooks included.

    Packages, results and the package's own source are left out, and so is what a library opens without Python.
    """
    ignored = tuple(str(root / name) + os.sep for name in IGNORED)
    inside, seen = str(root) + os.sep, set()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str) or not _reads(*arguments[1:3]):
            return
        path = os.path.abspath(arguments[0])
        if path in seen or not path.startswith(inside) or path.startswith(ignored):
            return
        seen.add(path)
        note_file(_source_of(path))

    sys.addaudithook(watch)


def _reads(mode: str | None, flags: int | None) -> bool:
    return "r" in mode if mode is not None else (flags or 0) & os.O_ACCMODE == os.O_RDONLY


def _source_of(path: str) -> Path:
    """The file itself, or the module that it is the bytecode of."""
    return Path(importlib.util.source_from_cache(path) if path.endswith(".pyc") else path)


def main() -> None:
    """Start the kernel; the project is the parent of the working folder."""
    from ipykernel.kernelapp import launch_new_instance

    sys.path.insert(0, "")  # as every kernel has it: helpers beside the notebook can be imported
    watch_files(Path.cwd().parent)
    launch_new_instance()


if __name__ == "__main__":
    main()
