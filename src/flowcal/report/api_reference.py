"""The reference part of the book: a page for every public module, made from its docstrings.

Sphinx renders the pages; `setup` makes it write NumPy's types as the code does, and link sources and names of ours.
"""

import ast
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from docutils import nodes
from numpy.typing import ArrayLike, NDArray
from numpydoc.xref import DEFAULT_LINKS
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

__all__ = ["page_of", "public_modules", "setup", "write_pages"]

PACKAGE = Path(__file__).parents[1]
TOP = "study"  # the folder of pages for modules that are in none themselves
SHORT = {
    stringify_annotation(annotation, "smart"): name
    for name, annotation in (
        ("ArrayLike", ArrayLike),
        ("NDArray[np.float64]", NDArray[np.float64]),
        ("NDArray[np.float32]", NDArray[np.float32]),
        ("NDArray[np.int64]", NDArray[np.int64]),
        ("NDArray[np.bool_]", NDArray[np.bool_]),
        ("NDArray", NDArray),
    )
}  # what annotations look like in the code, by what Sphinx makes of them

IDENTIFIER = re.compile(r"\b(doi|arXiv):([^\s,;]*[^\s,;.)])")
RESOLVERS = {"doi": "https://doi.org/", "arXiv": "https://arxiv.org/abs/"}


def public_modules() -> dict[str, list[str]]:
    """What each module makes public, by its `__all__`.

    A folder that has one itself stands for all modules in it. A name that a module only passes on from another is left
    to that one.

    Returns
    -------
    dict of str to list of str
        Public names by the module's full name.
    """
    stated = {path: _stated(path) for path in sorted(PACKAGE.rglob("*.py"))}
    folders = {path.parent for path, names in stated.items() if path.stem == "__init__" and names}
    modules = {}
    for path, names in stated.items():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if path.stem == "__init__" and names:
            modules[".".join(parts[:-1])] = names
        elif names and path.parent not in folders:
            modules[".".join(parts)] = [name for name in names if name not in _imported(path)]
    return modules


def page_of(module: str) -> PurePosixPath:
    """Where a module's page stands among the pages of the reference.

    Parameters
    ----------
    module : str
        Its full name.

    Returns
    -------
    PurePosixPath
        Without a suffix.

    Examples
    --------
    >>> str(page_of("flowcal.simulate.campaign")), str(page_of("flowcal.errors"))
    ('simulate/campaign', 'study/errors')
    """
    _, *parts = module.split(".")
    return PurePosixPath(parts[0] if len(parts) > 1 else TOP, parts[-1])


def write_pages(folder: Path) -> None:
    """Write a page for every public module that asks Sphinx for its docstrings.

    Parameters
    ----------
    folder : Path
        Gets a folder for each of the package's own, and one for the modules beside these.
    """
    for module, names in public_modules().items():
        page, title = folder / f"{page_of(module)}.rst", module.rpartition(".")[2]
        page.parent.mkdir(parents=True, exist_ok=True)
        head = f"{title}\n{'=' * len(title)}\n\n``{module}``\n\n"
        page.write_text(f"{head}.. automodule:: {module}\n   :members: {', '.join(names)}\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, which calls this for every extension that the book's configuration names.

    Parameters
    ----------
    app : Sphinx

    Returns
    -------
    dict
        What Sphinx has to know of an extension.
    """
    app.connect("config-inited", _name_types, priority=100)  # before numpydoc reads it
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _link_sources)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _name_types(app: Sphinx, config: Config) -> None:
    """Tell numpydoc which words in the types of parameters to link: ours, where no two are the same, and no others."""
    full = {name: f"{module}.{name}" for module, names in public_modules().items() for name in names}
    counts = Counter(name for names in public_modules().values() for name in names)
    ours = {name: path for name, path in full.items() if counts[name] == 1 and name[0].isupper()}
    config.numpydoc_xref_aliases = {word: word for word in DEFAULT_LINKS} | ours
    config.numpydoc_xref_ignore = "all"  # the configuration's own file can name a set only


def _stated(path: Path) -> list[str]:
    """What a module's `__all__` says."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _imported(path: Path) -> set[str]:
    """Names that a module imports from others."""
    imports = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


def _shorten(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A signature with NumPy's types as the code has them; of a protocol none, for it is never made."""
    if getattr(obj, "_is_protocol", False):
        return "", None
    for long, short in SHORT.items():
        signature, returned = (text and text.replace(long, short) for text in (signature, returned))
    return signature, returned


def _link_sources(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Where a source has an identifier, lead there."""
    lines[:] = [
        IDENTIFIER.sub(lambda found: f"`{found[0]} <{RESOLVERS[found[1]]}{found[2]}>`__", line) for line in lines
    ]


def _link(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """A name in a docstring, such as `Shelf.keep`, linked where just one object is called so, and left as it is else.

    Names in single backticks need not be ours; what a page refers to by a role of its own has to be there.
    """
    if node.get("refdomain") != "py" or node["reftype"] != "obj":
        return None
    objects = env.domains["py"].objects
    found = [full for full in objects if full.endswith(f".{node['reftarget']}") and not objects[full].aliased]
    if len(found) != 1:
        return contnode
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, found[0])
