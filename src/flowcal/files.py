"""Files: those of strangers are read with care, and ours appear in full or not at all and outlive no process.

A stranger's file may be damaged: JSON is of bounded size and of a stated form, and so are weights of networks.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydantic
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from flowcal.errors import FlowcalError, InputError

__all__ = [
    "Record",
    "Weights",
    "WeightsError",
    "as_record",
    "check_self_contained",
    "ending_with_us",
    "is_special",
    "kill_group",
    "parse_json",
    "read_json",
    "read_record",
    "read_weights",
    "replaced",
    "started",
    "temporary_folder",
    "write_json",
    "write_weights",
]

MOST_BYTES = 100_000_000  # the largest JSON file of ours has a hundredth of that
MOST_WEIGHTS = 2**30  # the study's largest network takes a hundredth of that
DEEPEST = 100  # levels of JSON, so that no later step runs out of stack
MOST_SHOWN = 200  # characters of what does not fit
HEADER = "flowcal"
SPECIAL = ("/dev/", "/proc/")


class Record(pydantic.BaseModel):
    """A JSON object of a stated form: no other keys, no values of another type, no NaN and no infinity."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


R = TypeVar("R", bound=Record)


def as_record(kind: type[R], value: object, what: str) -> R:
    """A JSON value as a record, or an `InputError` that names the key that does not fit; `what` names the value.

    Examples
    --------
    >>> class Share(Record):
    ...     share: float
    >>> as_record(Share, {"share": 0.5}, "the setting").share
    0.5
    >>> as_record(Share, {}, "the setting")
    Traceback (most recent call last):
    flowcal.errors.InputError: the setting cannot be used: share: Field required.
    """
    try:
        return kind.model_validate_json(json.dumps(value))  # as JSON, where a list may stand for a tuple
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be used: {_first(error)}.") from error


def read_record(kind: type[R], path: Path) -> R:
    """The record in a JSON file, or an `InputError`."""
    return as_record(kind, read_json(path), path.name)


def write_json(path: Path, value: object) -> None:
    """Write a record or JSON value, in full or not at all."""
    plain = value.model_dump(mode="json") if isinstance(value, Record) else value
    text = json.dumps(plain, indent=1, allow_nan=False) + "\n"
    with replaced(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The JSON value in a file, or an `InputError`."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
            raise InputError(f"{path.name} is no file.")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"{path.name} has {size} bytes; expected at most {MOST_BYTES}.")
        return parse_json(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is no UTF-8 text: {error}.") from error


def parse_json(text: str) -> Any:
    """The JSON value that a text stands for, or an `InputError` if it is none or is nested deeper than 100 levels.

    Examples
    --------
    >>> parse_json('{"share": 0.5}')
    {'share': 0.5}
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"the text is no JSON: {error}.") from error
    except RecursionError:
        raise InputError(f"the JSON is nested too deep; expected at most {DEEPEST} levels.") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [item for node in level for item in _items(node)]
        if not level:
            return value
    raise InputError(f"the JSON is nested too deep; expected at most {DEEPEST} levels.")


def is_special(path: Path) -> bool:
    """Whether a path names a device, a pipe or the like, which is written to and cannot be replaced."""
    return str(path.absolute()).startswith(SPECIAL) or (path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A draft to write, which takes the place of a file once it is complete; a link there is replaced, not followed."""
    if is_special(path):
        yield path
        return
    draft = path.with_name(f".{uuid.uuid4().hex}.draft")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink()


REAPER = """
import json, os, shutil, signal, sys
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)
left = {}
for line in sys.stdin:
    begins, kind, what = json.loads(line)
    left[kind, what] = begins
for (kind, what), still in sorted(left.items(), reverse=True):
    if still and kind == "group":
        try:
            os.killpg(what, signal.SIGKILL)
        except ProcessLookupError:
            pass
    elif still:
        shutil.rmtree(what, ignore_errors=True)
"""  # ends what it was told of once its standard input ends, which this process holds as long as it lives
_reapers: dict[int, subprocess.Popen[bytes]] = {}
_telling = threading.Lock()


@contextmanager
def ending_with_us(kind: str, what: int | str) -> Iterator[None]:
    """End a process "group" or remove a "folder" if this process is killed meanwhile, by whatever signal."""
    _tell(True, kind, what)
    try:
        yield
    finally:
        _tell(False, kind, what)


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program with all that it starts in turn, none of which outlives the block or, if that is killed, this process.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        with ending_with_us("group", process.pid):
            yield process
    finally:
        kill_group(process.pid)
        process.kill()
        process.wait()


def kill_group(leader: int) -> None:
    """End what is left of a process and of all that it has started in its group."""
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


def _tell(begins: bool, kind: str, what: int | str) -> None:
    if os.name != "posix":
        return
    with _telling:
        reaper = _reapers.get(os.getpid())  # a forked process has its own
        if reaper is None or reaper.poll() is not None:
            command, none = [sys.executable, "-I", "-S", "-c", REAPER], subprocess.DEVNULL
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": none, "stderr": none, "bufsize": 0}
            reaper = _reapers[os.getpid()] = subprocess.Popen(command, cwd="/", start_new_session=True, **streams)
        if reaper.stdin is not None:
            with suppress(BrokenPipeError):
                reaper.stdin.write(f"{json.dumps([begins, kind, what])}\n".encode())


@contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[Path]:
    """A private folder, which is removed afterwards, even if this process is killed."""
    made = tempfile.TemporaryDirectory(prefix="flowcal-", dir=parent, ignore_cleanup_errors=True)
    with made as name, ending_with_us("folder", name):
        yield Path(name)


def check_self_contained(path: Path) -> None:
    """Refuse an HDF5 file that would have other files read, with a `ValueError`."""
    import h5py  # a tenth of a second, which `flowcal simulate` does without

    def linked(name: str, link: object) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    def stored_elsewhere(name: str, item: object) -> str | None:
        return name if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual) else None

    with h5py.File(path, "r") as file:
        if found := file.visititems_links(linked) or file.visititems(stored_elsewhere):
            raise ValueError(f"{found} lies in another file")


def _items(node: Any) -> list[Any]:
    """What an object or a list holds; nothing else holds anything."""
    return list(node.values()) if isinstance(node, Mapping) else node if isinstance(node, list) else []


def _first(error: Exception) -> str:
    """The first thing that does not fit, with its place."""
    if not isinstance(error, pydantic.ValidationError):
        return str(error)[:MOST_SHOWN]
    found = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, found["loc"])) or "the value"
    return f"{place[:MOST_SHOWN]}: {found['msg'][:MOST_SHOWN]}"


class WeightsError(FlowcalError):
    """A file of weights is missing, damaged, or belongs to another network."""


@dataclass(frozen=True)
class Weights:
    """What a trained network consists of.

    Attributes
    ----------
    header : dict
        What the network is and how it was trained; JSON values.
    tensors : dict of str to ndarray
        Its parameters and buffers by name.
    """

    header: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def write_weights(path: Path, weights: Weights) -> None:
    """Write a safetensors file with a header in JSON, in full or not at all."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in weights.tensors.items()}
    content = safetensors.numpy.save(tensors, metadata={HEADER: json.dumps(weights.header)})
    try:
        with replaced(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error


def read_weights(path: Path) -> Weights:
    """Read what `write_weights` has written, or a `WeightsError` if the file is missing or no such file."""
    try:
        if (size := path.stat().st_size) > MOST_WEIGHTS:
            raise ValueError(f"it has {size} bytes, more than {MOST_WEIGHTS}")
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        for name, tensor in tensors.items():
            if tensor.dtype == bool and tensor.view(np.uint8).max(initial=0) > 1:
                raise ValueError(f"{name} holds what is neither true nor false")
        return Weights(_read_header(header), tensors)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}. Expected a safetensors file that the study has written."
        ) from error


def _read_header(text: str | None) -> dict[str, Any]:
    header = parse_json(text) if text is not None else None
    if not isinstance(header, dict):
        raise ValueError(f"its metadata has no {HEADER!r} that holds a JSON object")
    return header
