"""What code a result depends on: definitions of the package, followed through imports, compared without their texts."""

import ast

import pytest

from flowcal import code
from flowcal.code import CodeChanged, closure, closure_of_text, code_digest, libraries, reads_in
from flowcal.errors import InputError

TOP = '''"""A module."""
from toy.below import LIMIT, helper
import toy.aside as aside

START = 1
UNUSED = 2

def used(x: int) -> int:
    """Says what it does."""
    return helper(x) + START + aside.shift(x)

def other():
    return UNUSED
'''
BELOW = "LIMIT = 3\n\ndef helper(x):\n    return min(x, LIMIT)\n"
ASIDE = "STEP = 4\nFAR = 5\n\ndef shift(x):\n    return x + STEP\n\ndef leap(x):\n    return x + FAR\n"


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A package of three modules; calling the fixture with other sources starts a new process, so to say."""
    caches = [code._digest_of, code._used_by, code._module, code._names_in, code._resolve]

    def load(top=TOP, below=BELOW, aside=ASIDE, on_disk=None):
        for cached in caches:
            cached.cache_clear()
        sources = {"toy": "", "toy.top": top, "toy.below": below, "toy.aside": aside}
        monkeypatch.setattr(code, "SOURCES", sources)
        for name, text in (on_disk or sources).items():
            path = tmp_path.joinpath(*name.split(".")[1:])
            (path.with_suffix(".py") if name != "toy" else tmp_path / "__init__.py").write_text(text)
        return code_digest([("toy.top", "used")])

    monkeypatch.setattr(code, "PACKAGE", "toy")
    monkeypatch.setattr(code, "FOLDER", tmp_path)
    yield load
    for cached in caches:
        cached.cache_clear()


def test_a_definition_brings_all_that_it_needs_and_nothing_else(toy):
    toy()
    assert closure([("toy.top", "used")]) == {
        ("toy.top", "used"),
        ("toy.top", "START"),
        ("toy.below", "helper"),
        ("toy.below", "LIMIT"),
        ("toy.aside", "shift"),
        ("toy.aside", "STEP"),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"top": TOP.replace("Says what it does", "Says something else")},
        {"top": TOP.replace("(x: int) -> int", "(x: float) -> float")},
        {"top": TOP.replace("UNUSED = 2", "UNUSED = 3  # a comment\n")},
        {"top": TOP.replace('    """Says what it does."""\n', "")},
        {"aside": ASIDE.replace("FAR = 5", "FAR = 6")},
    ],
)
def test_what_cannot_change_the_result_does_not_count(toy, change):
    assert toy() == toy(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"top": TOP.replace("START = 1", "START = 2")},
        {"top": TOP.replace("+ START", "- START")},
        {"below": BELOW.replace("LIMIT = 3", "LIMIT = 4")},
        {"below": BELOW.replace("min", "max")},
        {"aside": ASIDE.replace("STEP = 4", "STEP = 4.0")},
        {"below": BELOW + "\nprint('at import')\n"},
    ],
)
def test_what_can_change_the_result_counts(toy, change):
    assert toy() != toy(**change)


def test_code_that_has_changed_since_it_was_imported_is_refused(toy):
    edited = {"toy": "", "toy.top": TOP, "toy.below": BELOW.replace("3", "30"), "toy.aside": ASIDE}
    with pytest.raises(CodeChanged, match=r"toy\.below has changed since this process started; restart"):
        toy(on_disk=edited)
    assert toy(on_disk=edited | {"toy.below": BELOW + "# a comment\n"})


def test_programs_bring_what_they_import(toy):
    toy()
    found = closure_of_text("from toy.top import other\nimport toy.below\n\nother()\ntoy.below.helper(1)\n")
    assert {("toy.top", "other"), ("toy.top", "UNUSED"), ("toy.below", "helper")} <= found
    assert ("toy.top", "used") not in found


def test_refuses_what_the_package_does_not_define():
    for module, name in (("json", "dumps"), ("flowcal.problem", "nothing")):
        with pytest.raises(InputError, match=f"expected a function or class of flowcal, got {module}.{name}"):
            code_digest([(module, name)])


def test_a_result_of_inference_does_not_depend_on_figures():
    needed = {module for module, _ in closure([("flowcal.infer.um1", "aleatory_runs")])}
    assert "flowcal.simulate.campaign" in needed
    assert not {module for module in needed if "report" in module or "decide" in module}


def test_reads_are_found_in_calls_with_a_literal_name():
    tree = ast.parse("study.read('first', 'x')\nstudy.read(name, 'y')\nfile.read()\n")
    assert reads_in([tree]) == {"first"}


def test_pins_that_differ_from_what_is_installed_count(tmp_path):
    pins = tmp_path / "requirements.txt"
    pins.write_text("numpy==0.1\nscipy==0.2 \\\n    --hash=sha256:00\nattrs==1\n")
    found = libraries(pins)
    assert found["numpy"] == f"{libraries()['numpy']}, 0.1 is pinned"
    assert found["scipy"].endswith("0.2 is pinned")
    assert set(found) == {"numpy", "scipy", "torch", "zuko"}


def test_types_of_local_variables_change_nothing_and_those_of_fields_do(toy):
    top = TOP.replace("    return helper(x)", "    at = x\n    return helper(at)")
    assert toy(top.replace("at = x", "at: int = x")) == toy(top)
    fields = "\n\nclass Pair:\n    first = 1\n"
    typed = fields.replace("first", "first: int")
    used = TOP.replace("return helper(x)", "return helper(Pair.first)")
    assert toy(used + fields) != toy(used + typed)
