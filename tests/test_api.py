"""The public surface: documented in plain words, annotated, and without sections that repeat the signature."""

import doctest
import importlib
import inspect
import re

import pytest
from conftest import ROOT
from numpydoc.docscrape import NumpyDocString

PACKAGE = ROOT / "src" / "flowcal"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "__all__" in path.read_text()
)
LISTS = ("Parameters", "Attributes", "Returns", "Yields", "Raises")
LONGEST = 120


def members(name, cls):
    """Public methods and properties that a class itself defines, and what makes it callable, by full name."""
    for key, value in vars(cls).items():
        if (not key.startswith("_") or key == "__call__") and (inspect.isroutine(value) or hasattr(value, "__get__")):
            yield f"{name}.{key}", inspect.getattr_static(cls, key)


def surface(module):
    """Every public function, class, method and property of a module, by full name."""
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if inspect.isclass(value) and value.__module__.startswith("flowcal"):
            yield f"{module}.{name}", value
            yield from members(f"{module}.{name}", value)
        elif inspect.isfunction(inspect.unwrap(value)):
            yield f"{module}.{name}", value


def function_of(value):
    """The function behind a method or property."""
    for attribute in ("fget", "func", "__func__"):
        value = getattr(value, attribute, value)
    return value


def complaints(value):
    """What is wrong with a docstring."""
    text = inspect.getdoc(function_of(value)) or ""
    first = text.partition("\n")[0]
    if not first.endswith((".", ":", "::")) or len(first) > LONGEST:
        return ["the first line is no sentence"]
    found = NumpyDocString(text)
    entries = [entry for section in LISTS for entry in found[section]]
    said = [f"{entry.name or entry.type} only repeats the signature" for entry in entries if not "".join(entry.desc)]
    if inspect.isfunction(function_of(value)):
        known = set(inspect.signature(function_of(value)).parameters)
        listed = {name.strip("* ") for entry in found["Parameters"] for name in entry.name.split(",")}
        said += [f"{name} is no parameter" for name in sorted(listed - known)]
    return said


def unannotated(value):
    """Parameters without a type, and the result where it has none."""
    if inspect.isclass(value):
        return []
    signature = inspect.signature(function_of(value))
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    return missing + ["result"] * (signature.return_annotation is signature.empty)


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_public_is_documented_and_nothing_twice(module):
    assert {name: said for name, value in surface(module) if (said := complaints(value))} == {}


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_public_is_annotated(module):
    assert {name: missing for name, value in surface(module) if (missing := unannotated(value))} == {}


def test_docstrings_take_no_more_than_their_share():
    lines = documented = 0
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        lines += len(text.splitlines())
        documented += sum(found.count("\n") + 1 for found in re.findall(r'^\s*"""(.*?)"""', text, re.M | re.S))
    assert documented / lines <= 0.28


def test_examples_on_the_page_run():
    page = ROOT / "book" / "api.md"
    blocks = re.findall(r"^```pycon\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        example = doctest.DocTestParser().get_doctest(block, {}, page.stem, str(page), 0)
        assert doctest.DocTestRunner().run(example).failed == 0


class Lacking:
    """A class whose methods lack what the tests look for."""

    def silent(self):
        return 1

    def repeating(self, n: int) -> int:
        """Draws.

        Parameters
        ----------
        n : int
        other : float
            Of something else.
        """
        return n


def test_what_is_wrong_is_found():
    assert complaints(Lacking) == []
    assert complaints(Lacking.silent) == ["the first line is no sentence"]
    assert complaints(Lacking.repeating) == ["n only repeats the signature", "other is no parameter"]
    assert unannotated(Lacking.silent) == ["result"]
