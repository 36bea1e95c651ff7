"""Random mutations of constants and operators: none that changes a result may leave its key as it was.

A mutation is followed through a study of a few seconds. Artifacts whose code digest it changes are stale; of the others
those are computed again that call the mutated function, and all of them where it stands outside of functions. One is
missed if its result changes and its key, which covers the content of its settings too, does not.
"""

import ast
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from flowcal import code

ROOT = Path(__file__).parents[2]

MUTATIONS, SEED = 200, 21
PROGRAM = ROOT / "tests" / "benchmarks" / "mutated_study.py"
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
}


def places(tree):
    """Nodes that can be mutated: numbers, arithmetic and comparisons."""
    for node in ast.walk(tree):
        is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        operator = getattr(node, "op", None) or getattr(node, "ops", [None])[0]
        if is_number or (isinstance(node, ast.BinOp | ast.Compare) and type(operator) in OPERATORS):
            yield node


def mutate(node):
    """Change a number a little, or an operator to its opposite."""
    if isinstance(node, ast.Constant):
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.25 + 0.01
    elif isinstance(node, ast.BinOp):
        node.op = OPERATORS[type(node.op)]()
    else:
        node.ops[0] = OPERATORS[type(node.ops[0])]()


def function_around(tree, line):
    """First line of the innermost function or method that holds a line, decorators included; None at module level."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda) and node.lineno <= line <= node.end_lineno
    ]
    if not found:
        return None
    inner = max(found, key=lambda node: node.lineno)
    return min([inner.lineno, *(d.lineno for d in getattr(inner, "decorator_list", []))])


def run_study(folder, *names):
    """What the small study gives with the package in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, str(PROGRAM), *names], env=environment, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def digests(roots_of, sources, monkeypatch):
    """Code digest of every artifact for given sources of the package."""
    monkeypatch.setattr(code, "SOURCES", sources)
    for cached in (code._digest_of, code._used_by, code._module, code._names_in, code._resolve):
        cached.cache_clear()
    found = {}
    for name, roots in roots_of.items():
        needed = code.closure([tuple(root.rsplit(".", 1)) for root in roots])
        found[name] = code._digest_of(needed)
    return found


def test_no_mutation_that_changes_a_result_goes_unnoticed(tmp_path, monkeypatch, measured):
    base = run_study(ROOT / "src", "all")
    sources = dict(code.SOURCES)
    roots_of = {name: row["code"] for name, row in base.items()}
    before = digests(roots_of, sources, monkeypatch)
    modules = [m for m in sources if m.split(".")[1:2] in (["simulate"], ["infer"], ["decide"])]
    choices = [(m, number) for m in modules for number, _ in enumerate(places(ast.parse(sources[m])))]
    picked = random.Random(SEED).sample(choices, MUTATIONS)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    missed, rerun, noticed = [], 0, 0
    for module, number in picked:
        tree = ast.parse(sources[module])
        node = list(places(tree))[number]
        around = function_around(tree, node.lineno)
        mutate(node)
        text = ast.unparse(ast.fix_missing_locations(tree))
        after = digests(roots_of, sources | {module: text}, monkeypatch)
        unchanged = [name for name in base if after[name] == before[name]]
        noticed += len(unchanged) < len(base)
        file = "/".join(module.split(".")[1:]) + ".py"
        at_risk = [name for name in unchanged if around is None or f"{file}:{around}" in base[name]["called"]]
        if not at_risk:
            continue
        rerun += 1
        path = tmp_path / "src" / "flowcal" / file
        path.write_text(text)
        mutated = run_study(tmp_path / "src", *at_risk)
        path.write_text(sources[module])
        if mutated is None:  # it cannot even be imported: no result at all
            continue
        fresh = [name for name in at_risk if mutated[name]["key"] == base[name]["key"]]
        changed = [name for name in fresh if mutated[name]["content"] != base[name]["content"]]
        missed += [(module, node.lineno, changed)] * bool(changed)
        print(module, node.lineno, "rerun", len(at_risk), "fresh", len(fresh), "changed", changed, flush=True)
    print(f"{MUTATIONS} mutations: {noticed} made a key stale, {rerun} studies rerun, missed {missed}")
    measured({"fresh.mutations": MUTATIONS, "fresh.mutations_missed": len(missed)})
    assert missed == []
