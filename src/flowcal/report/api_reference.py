"""What Sphinx needs for the reference pages that autosummary makes: short types, links to sources and to our names."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from numpy.typing import ArrayLike, NDArray
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

from flowcal.files import Record

__all__ = ["setup"]

TYPES = {
    "ArrayLike": ArrayLike,
    "NDArray[np.float64]": NDArray[np.float64],
    "NDArray[np.float32]": NDArray[np.float32],
    "NDArray[np.int64]": NDArray[np.int64],
    "NDArray[np.bool_]": NDArray[np.bool_],
    "NDArray": NDArray,
}
SHORT = {stringify_annotation(annotation, "smart"): name for name, annotation in TYPES.items()}
IDENTIFIER = re.compile(r"\b(doi|arXiv):([^\s,;]*[^\s,;.)])")
RESOLVERS = {"doi": "https://doi.org/", "arXiv": "https://arxiv.org/abs/"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, which calls this for every extension that the book's configuration names."""
    if (Path(app.srcdir) / "pyproject.toml").exists():
        sys.exit("The notebooks here have not been run, so this would be a book without numbers: use 'make book'.")
    if not (theme := app.config.html_theme_options).get("repository_url"):
        theme.pop("launch_buttons", None)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _link_sources)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _shorten(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A signature with NumPy's types as the code has them; of a record its fields, and of a protocol nothing."""
    if getattr(obj, "_is_protocol", False):
        return "", None
    if isinstance(obj, type) and issubclass(obj, Record):
        return f"({', '.join(obj.model_fields)})", None
    for long, short in SHORT.items():
        signature, returned = (text and text.replace(long, short) for text in (signature, returned))
    return signature, returned


def _link_sources(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Link the identifiers of sources."""
    lines[:] = [IDENTIFIER.sub(lambda of: f"`{of[0]} <{RESOLVERS[of[1]]}{of[2]}>`__", line) for line in lines]


def _link(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """Link a name in single backticks, such as `Shelf.keep`, where exactly one object ends in it; else leave it."""
    if node.get("refdomain") != "py" or node["reftype"] != "obj":
        return None
    objects = env.domains["py"].objects
    found = [full for full in objects if full.endswith(f".{node['reftarget']}") and not objects[full].aliased]
    if len(found) != 1:
        return contnode
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, found[0])
