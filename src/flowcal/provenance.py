"""How an executed chapter came about: what it consumed, and what a reader may know of it.

`Execution` lies beside the executed notebook and decides whether it is still fresh. `Provenance` is kept in the
metadata of the notebook, so that it goes wherever the notebook goes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import nbformat
from nbformat import NotebookNode
from pydantic import Field, StringConstraints

from flowcal import __version__
from flowcal.artifacts import NAME, SOURCE, Manifest, manifest_of
from flowcal.errors import InputError
from flowcal.files import Record, as_record, parse_json

__all__ = [
    "Execution",
    "Made",
    "Provenance",
    "collect_provenance",
    "has_own_edit",
    "keep_provenance",
    "read_consumed",
    "read_provenance",
    "sign_text",
]

KEY = "flowcal"  # among the notebook's metadata
TEXT = "flowcal_text"
MOST_CHARACTERS = 100_000

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


class Made(Record):
    """An artifact that a chapter made: digest of its content, seed among its settings, seconds that it took."""

    sha256: Sha256
    seed: Annotated[int, Field(ge=0, le=2**63)] | None
    wall_time_s: Seconds


class Provenance(Record):
    """How an execution of a chapter came about.

    Attributes
    ----------
    wall_time_s : float
        Seconds of the execution, which takes artifacts that are still true as they are.
    made : dict of str to Made
        The chapter's own artifacts by name.
    made_from : dict of str to str
        Digests of the artifacts of other chapters that it read, by chapter and name.
    """

    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+-]{1,40}\z")]
    profile: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}\z")]
    wall_time_s: Seconds
    made: dict[Annotated[str, StringConstraints(pattern=rf"^{NAME}\z")], Made]
    made_from: dict[Annotated[str, StringConstraints(pattern=rf"^{SOURCE}\z")], Sha256]


class Execution(Record):
    """What an execution of a chapter consumed, and what it left.

    Attributes
    ----------
    text, code : str
        SHA-256 of the chapter's file, and of all code of the package that it needs.
    parameters : dict
        JSON text of each parameter.
    used : dict of str to str
        Digests of the artifacts that it kept and read.
    files : dict of str to str or None
        SHA-256 of other files that it read; None where there was none.
    notebook : str
        SHA-256 of the executed notebook.
    """

    text: str
    code: str
    parameters: dict[str, str]
    libraries: dict[str, str]
    used: dict[str, str]
    files: dict[str, str | None]
    notebook: str
    wall_time_s: float
    finished: str


def read_consumed(record: Path) -> tuple[dict[str, str], dict[str, str | None]]:
    """Artifacts and files with their digests, from what an execution has recorded; the first digest of each counts."""
    used: dict[str, str] = {}
    files: dict[str, str | None] = {}
    for line in record.read_text(encoding="utf-8").splitlines():
        entry = parse_json(line)
        if "artifact" in entry:
            used[entry["artifact"]] = entry["digest"]
        else:
            files.setdefault(entry["file"], entry["sha256"])
    return used, files


def collect_provenance(
    root: Path, chapter: str, used: Mapping[str, str], profile: str, wall_time_s: float
) -> Provenance:
    """The provenance of an execution that has just ended; `root` is the folder of all chapters' artifacts."""
    own = f"{chapter}/"
    manifests = {name: manifest_of(root, name) for name in used}
    return Provenance(
        version=__version__,
        profile=profile,
        wall_time_s=wall_time_s,
        made={name.removeprefix(own): _made(kept) for name, kept in manifests.items() if name.startswith(own)},
        made_from={name: digest for name, digest in used.items() if not name.startswith(own)},
    )


def keep_provenance(notebook: NotebookNode, provenance: Provenance) -> None:
    """Write the provenance into an executed notebook's metadata."""
    notebook.metadata[KEY] = provenance.model_dump(mode="json")


def read_provenance(notebook: NotebookNode) -> Provenance | None:
    """The provenance among a notebook's metadata; None where its execution kept none, an `InputError` if it is none."""
    kept = notebook.metadata.get(KEY)
    if kept is None:
        return None
    what = "the notebook's provenance"
    found = as_record(Provenance, kept, what)
    if (length := len(json.dumps(kept))) > MOST_CHARACTERS:
        raise InputError(f"{what} cannot be used: {length} characters; expected at most {MOST_CHARACTERS}.")
    return found


def _made(manifest: Manifest) -> Made:
    return Made(sha256=manifest.digest, seed=manifest.seed, wall_time_s=manifest.wall_time_s)


def sign_text(notebook: NotebookNode) -> None:
    """Note in a notebook that is to be paired with a chapter's text what its cells say now."""
    notebook.metadata[TEXT] = _cells_digest(notebook)


def has_own_edit(pair: Path, text: NotebookNode) -> bool:
    """Whether a paired notebook says something else than a chapter's text, and than when it was stored."""
    try:
        notebook = nbformat.read(pair, as_version=4)
        return _cells_digest(notebook) not in (notebook.metadata.get(TEXT), _cells_digest(text))
    except (ValueError, AttributeError, KeyError, TypeError):  # no notebook, such as one with the marks of a conflict
        return True


def _cells_digest(notebook: NotebookNode) -> str:
    cells = [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
