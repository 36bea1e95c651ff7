"""Weights of networks as files: safetensors with a header in JSON, and nothing that could run."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from flowcal.errors import FlowcalError
from flowcal.json_text import parse_json

__all__ = ["Weights", "WeightsError", "read_weights", "write_weights"]

HEADER = "flowcal"
MOST_BYTES = 2**30  # the study's largest network takes a hundredth of that


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
    """Write the file, in full or not at all.

    Parameters
    ----------
    path : Path
    weights : Weights

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.draft")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in weights.tensors.items()}
    content = safetensors.numpy.save(tensors, metadata={HEADER: json.dumps(weights.header)})
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error


def read_weights(path: Path) -> Weights:
    """Read a file that `write_weights` has written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is missing, is not safetensors, or has no header of ours.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"it has {size} bytes, more than {MOST_BYTES}")
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        for name, tensor in tensors.items():
            if tensor.dtype == bool and tensor.view(np.uint8).max(initial=0) > 1:
                raise ValueError(f"{name} holds what is neither true nor false")
        return Weights(_read_header(header), tensors)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}. Needed is a safetensors file that `save` has written."
        ) from error


def _read_header(text: str | None) -> dict[str, Any]:
    header = parse_json(text) if text is not None else None
    if not isinstance(header, dict):
        raise ValueError(f"its metadata has no {HEADER!r} that holds a JSON object")
    return header
