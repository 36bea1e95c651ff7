"""How an executed chapter came about: version, profile, times, and the digests of what it made and was made from.

It is kept in the metadata of the executed notebook, so that it goes wherever the notebook goes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from flowcal import __version__
from flowcal.artifacts import NAME, SOURCE, manifest_of
from flowcal.errors import InputError
from flowcal.json_schema import check_schema

__all__ = ["Made", "Provenance", "collect_provenance", "keep_provenance", "read_provenance"]

KEY = "flowcal"  # among the notebook's metadata
MOST_CHARACTERS = 100_000
DIGEST = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
SECONDS = {"type": "number", "minimum": 0, "maximum": 1e9}
SEED = {"type": ["integer", "null"], "minimum": 0, "maximum": 2**63}
MADE = {
    "type": "object",
    "properties": {"sha256": DIGEST, "seed": SEED, "wall_time_s": SECONDS},
    "required": ["sha256", "seed", "wall_time_s"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "version": {"type": "string", "pattern": r"^[0-9A-Za-z.+-]{1,40}\Z"},
        "profile": {"type": "string", "pattern": r"^[a-z]{1,20}\Z"},
        "wall_time_s": SECONDS,
        "made": {"type": "object", "patternProperties": {rf"^{NAME}\Z": MADE}, "additionalProperties": False},
        "made_from": {"type": "object", "patternProperties": {rf"^{SOURCE}\Z": DIGEST}, "additionalProperties": False},
    },
    "required": ["version", "profile", "wall_time_s", "made", "made_from"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Made:
    """An artifact that a chapter made.

    Attributes
    ----------
    sha256 : str
        Digest of its content, 64 hexadecimal digits.
    seed : int or None
        The seed among the settings that it was made with, if they had one.
    wall_time_s : float
        Seconds that making it took, whenever that was.
    """

    sha256: str
    seed: int | None
    wall_time_s: float


@dataclass(frozen=True)
class Provenance:
    """How an execution of a chapter came about.

    Attributes
    ----------
    version : str
        Of flowcal.
    profile : str
    wall_time_s : float
        Seconds of the execution, which takes artifacts that are still true as they are.
    made : mapping of str to Made
        The chapter's own artifacts by name.
    made_from : mapping of str to str
        Digests of the artifacts of other chapters that it read, by chapter and name.
    """

    version: str
    profile: str
    wall_time_s: float
    made: Mapping[str, Made]
    made_from: Mapping[str, str]


def collect_provenance(root: Path, chapter: str, used: Sequence[str], profile: str, wall_time_s: float) -> Provenance:
    """The provenance of an execution that has just ended.

    Parameters
    ----------
    root : Path
        Folder of all chapters' artifacts of the profile.
    chapter : str
    used : sequence of str
        The artifacts that it kept and read, see `flowcal.artifacts.recorded`.
    profile : str
    wall_time_s : float

    Returns
    -------
    Provenance

    Raises
    ------
    ArtifactError
        If one of them is no longer there.
    """
    manifests = {artifact: manifest_of(root, artifact) for artifact in used}
    own = f"{chapter}/"
    return Provenance(
        version=__version__,
        profile=profile,
        wall_time_s=wall_time_s,
        made={name.removeprefix(own): _made(kept) for name, kept in manifests.items() if name.startswith(own)},
        made_from={name: kept["digest"] for name, kept in manifests.items() if not name.startswith(own)},
    )


def keep_provenance(notebook: NotebookNode, provenance: Provenance) -> None:
    """Write the provenance into a notebook's metadata.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.
    provenance : Provenance
        How it was made.
    """
    notebook.metadata[KEY] = asdict(provenance)


def read_provenance(notebook: NotebookNode) -> Provenance | None:
    """The provenance among a notebook's metadata; None where its execution kept none.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.

    Returns
    -------
    Provenance or None

    Raises
    ------
    InputError
        If what stands there is larger than any of ours, or of another form.
    """
    kept = notebook.metadata.get(KEY)
    if kept is None:
        return None
    what = "the notebook's provenance"
    check_schema(kept, SCHEMA, what)
    if (length := len(json.dumps(kept))) > MOST_CHARACTERS:
        raise InputError(f"{what} cannot be used: {length} characters; needed are at most {MOST_CHARACTERS}.")
    made = {name: Made(**values) for name, values in kept["made"].items()}
    return Provenance(**{**kept, "made": made})


def _made(manifest: Mapping[str, Any]) -> Made:
    settings = manifest["settings"]
    training = settings.get("training") or {}
    return Made(manifest["digest"], settings.get("random_seed", training.get("random_seed")), manifest["wall_time_s"])
