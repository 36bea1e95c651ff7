"""The public surface: documented, annotated, on a page of the reference, with examples that run."""

import dataclasses
import doctest
import importlib
import inspect
import re

import pytest
from conftest import ROOT
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from sphinx.pycode import ModuleAnalyzer
from surface import public_modules

PAGE = ROOT / "book" / "api.md"
# Sections unknown, out of order or missing; parameters missing, unknown or out of order; no Returns; no Yields
CODES = {"GL06", "GL07", "GL08", "PR01", "PR02", "PR03", "RT01", "YD01"}


def stated(module):
    """What the module makes public, by full name."""
    return {f"{module}.{name}": getattr(importlib.import_module(module), name) for name in public_modules()[module]}


def members(name, cls):
    """Public methods and properties that a class itself defines, and what makes it callable, by full name."""
    for key, value in vars(cls).items():
        if (not key.startswith("_") or key == "__call__") and (inspect.isroutine(value) or hasattr(value, "__get__")):
            yield f"{name}.{key}", inspect.getattr_static(cls, key)


def surface(module):
    """Every public function, class, method and property of a module, by full name."""
    for name, value in stated(module).items():
        if inspect.isclass(value):
            yield name, value
            yield from members(name, value)
        elif inspect.isfunction(inspect.unwrap(value)):
            yield name, value


def function_of(value):
    """The function behind a method or property."""
    for attribute in ("fget", "func", "__func__"):
        value = getattr(value, attribute, value)
    return value


def undocumented(name, value):
    """What a docstring lacks."""
    if not inspect.isclass(value):
        return complaints(name, CODES)
    if dataclasses.is_dataclass(value):
        attributes = NumpyDocString(inspect.getdoc(value))["Attributes"]
        documented = {one for names, *_ in attributes for one in names.split(", ")}
        fields = [field.name for field in dataclasses.fields(value) if field.init and field.name[0] != "_"]
        missing = [f"no attribute {field}" for field in fields if field not in documented]
        return missing + complaints(name, CODES - {"PR01"})
    own = "__init__" in vars(value) and not getattr(value, "_is_protocol", False)
    return complaints(name, CODES if own else CODES - {"PR01"})


def complaints(name, codes):
    return [text for code, text in validate(name)["errors"] if code in codes]


def unannotated(value):
    """Parameters without a type, and the result where it has none."""
    if inspect.isclass(value):
        return []
    signature = inspect.signature(function_of(value))
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    return missing + ["result"] * (signature.return_annotation is signature.empty)


@pytest.mark.parametrize("module", public_modules())
def test_all_that_is_public_is_documented(module):
    assert {name: missing for name, value in surface(module) if (missing := undocumented(name, value))} == {}


@pytest.mark.parametrize("module", public_modules())
def test_all_that_is_public_is_annotated(module):
    assert {name: missing for name, value in surface(module) if (missing := unannotated(value))} == {}


@pytest.mark.parametrize("module", public_modules())
def test_every_constant_says_what_it_is(module):
    constants = {
        name.rpartition(".")[2]
        for name, value in stated(module).items()
        if not inspect.isclass(value) and not inspect.isroutine(inspect.unwrap(value))
    }
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    assert constants - {name for place, name in analyzer.attr_docs if not place} == set()


class Lacking:
    """A class whose methods lack what the tests look for.

    Parameters
    ----------
    other : int
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def silent(self):
        return self.size

    def terse(self, n, rng: int) -> int:
        """Draws.

        Parameters
        ----------
        n : int
        """
        return n + rng


@dataclasses.dataclass
class Half:
    """Half of what it should say.

    Attributes
    ----------
    first : int
    """

    first: int
    second: int


def test_what_is_missing_is_found():
    name = f"{__name__}.Lacking"
    assert {found for found, _ in members(name, Lacking)} == {f"{name}.silent", f"{name}.terse"}
    assert undocumented(name, Lacking) == ["Parameters {'size'} not documented", "Unknown parameters {'other'}"]
    assert "The object does not have a docstring" in undocumented(f"{name}.silent", Lacking.silent)
    assert undocumented(f"{name}.terse", Lacking.terse) == [
        "Parameters {'rng'} not documented",
        "No Returns section found",
    ]
    assert unannotated(Lacking.silent) == ["result"]
    assert unannotated(Lacking.terse) == ["n"]
    assert undocumented(f"{__name__}.Half", Half) == ["no attribute second"]


def test_examples_of_the_page_run():
    blocks = re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        example = doctest.DocTestParser().get_doctest(block, {}, PAGE.stem, str(PAGE), 0)
        assert doctest.DocTestRunner().run(example).failed == 0
