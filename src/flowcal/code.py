"""What code runs here: the package's source as this process imported it, and what of it a definition depends on.

Code is compared as syntax trees without docstrings and annotations, definition by definition: a function's digest
covers the function and every definition of the package that it needs, directly or not, and nothing else.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flowcal.errors import FlowcalError, InputError

__all__ = ["CodeChanged", "Definition", "closure", "closure_of_text", "code_digest", "libraries", "running_digest"]

PACKAGE = __name__.partition(".")[0]
FOLDER = Path(__file__).parent
LIBRARIES = ("numpy", "scipy", "torch", "zuko")
STATEMENTS = "<statements>"  # stands for what a module runs when it is imported, beside its definitions

PLUMBING = frozenset(
    {PACKAGE, *(f"{PACKAGE}.{part}" for part in ("errors", "files", "code", "fingerprint", "artifacts"))}
)

Definition = tuple[str, str]
"""Module and name of a function, class or constant."""

Target = tuple[str, str | None]  # a definition, or a whole module


class CodeChanged(FlowcalError):
    """A source file has changed since this process imported it."""


def _read_sources() -> dict[str, str]:
    """Source of every module of the package by its name."""
    found = {}
    for file in sorted(FOLDER.rglob("*.py")):
        parts = [PACKAGE, *file.relative_to(FOLDER).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text(encoding="utf-8")
    return found


SOURCES = _read_sources()  # as they were when this process started; compared with the disk before a result is stored


@dataclass(frozen=True)
class _Module:
    """A parsed module: the statements that bind each name, and where its imported names come from."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)


def code_digest(definitions: Iterable[Definition]) -> str:
    """SHA-256 over definitions and all they need of the package, as this process imported them.

    Raises
    ------
    InputError
        If the package has no such definition.
    CodeChanged
        If any of it stands otherwise on disk by now.
    """
    needed = closure(definitions)
    for module in sorted({module for module, _ in needed}):
        now = _file_of(module).read_text(encoding="utf-8") if _file_of(module).exists() else ""
        if now != SOURCES[module] and _texts(_parse(now), needed, module) != _texts(_module(module), needed, module):
            raise CodeChanged(f"{module} has changed since this process started; restart the kernel or the command.")
    return _digest_of(needed)


@cache
def _digest_of(needed: frozenset[Definition]) -> str:
    lines = [text for module in sorted({m for m, _ in needed}) for text in _texts(_module(module), needed, module)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def closure(definitions: Iterable[Definition]) -> frozenset[Definition]:
    """The definitions themselves and every definition of the package that they need."""
    todo = []
    for module, name in definitions:
        found = _resolve(module, name.partition(".")[0]) if module in SOURCES else None
        if found is None or found[1] is None:
            raise InputError(f"expected a function or class of {PACKAGE}, got {module}.{name}.")
        todo.append(found)
    return _close(todo)


def closure_of_text(text: str) -> frozenset[Definition]:
    """Every definition of the package that a program such as a chapter needs."""
    return _close(list(_uses(ast.parse(text), _parse(text).imports)))


def _close(todo: list[Target]) -> frozenset[Definition]:
    found: set[Definition] = set()
    while todo:
        module, name = todo.pop()
        names = [*_module(module).definitions] if name is None else [name]
        run_at_import = [STATEMENTS] * (STATEMENTS in _module(module).definitions)
        for definition in {(module, one) for one in (*names, *run_at_import)} - found:
            found.add(definition)
            todo += _used_by(*definition)
    return frozenset(definition for definition in found if definition[0] not in PLUMBING)


@cache
def _used_by(module: str, name: str) -> tuple[Target, ...]:
    statements = _module(module).definitions.get(name, [])
    return tuple(target for statement in statements for target in _uses(statement, _names_in(module)))


def statements_of(needed: Iterable[Definition]) -> Iterator[ast.stmt]:
    """The statements that definitions consist of."""
    for module, name in needed:
        yield from _module(module).definitions.get(name, [])


def reads_in(trees: Iterable[ast.AST]) -> set[str]:
    """First arguments, where they are text, of all calls of a method `read`, as in ``study.read("aleatory", ...)``."""
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "read"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


@cache
def running_digest() -> str:
    """SHA-256 over the whole package as this process imported it, by which workers and their client compare."""
    result = hashlib.sha256()
    for module in sorted(SOURCES):
        result.update(f"{module}\n{_normal(ast.parse(SOURCES[module]))}\n".encode())
    return result.hexdigest()


def libraries(pins: Path | None = None) -> dict[str, str]:
    """Versions of the libraries that results depend on, and what a file such as requirements.txt wants of them."""
    found = {name: _installed(name) for name in LIBRARIES}
    text = pins.read_text(encoding="utf-8", errors="replace") if pins is not None and pins.is_file() else ""
    for name, wanted in re.findall(r"^([A-Za-z0-9_-]+)==([^\s;\\]+)", text, re.MULTILINE):
        if name in found and found[name] != wanted:
            found[name] += f", {wanted} is pinned"
    return found


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]  # without the build, such as +cpu
    except PackageNotFoundError:
        return "not installed"


def _file_of(module: str) -> Path:
    place = FOLDER.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _module(module: str) -> _Module:
    return _parse(SOURCES[module])


def _parse(text: str) -> _Module:
    found = _Module()
    for statement in _flat(ast.parse(text).body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found.imports.update(_imported(statement))
        else:
            for name in _bound(statement):
                found.definitions.setdefault(name, []).append(statement)
    return found


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those in the branches of a condition or an attempt included."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            parts = [statement.body, statement.orelse, *(h.body for h in getattr(statement, "handlers", []))]
            yield from (inner for part in parts for inner in _flat(part))
        else:
            yield statement


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement defines; what defines none and is no text is run at import."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return [name for name in names if name != "__all__"]
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return [] if is_text or isinstance(statement, ast.Pass) else [STATEMENTS]


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
    """Names that an import binds, with module and name behind them, of this package only."""
    if isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            if (statement.module or "").partition(".")[0] == PACKAGE:
                yield alias.asname or alias.name, (str(statement.module), alias.name)
    else:
        for alias in statement.names:
            if alias.name.partition(".")[0] == PACKAGE:
                yield (alias.asname, (alias.name, None)) if alias.asname else (PACKAGE, (PACKAGE, None))


def _uses(tree: ast.AST, names: Mapping[str, Target]) -> Iterator[Target]:
    """Definitions of the package, or whole modules of it, that a piece of code names."""
    nodes = list(ast.walk(tree))
    imports = [pair for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for pair in _imported(node)]
    known = {**names, **dict(imports)}
    outer = {id(node.value): node for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in known:
            found, inner = _resolve(*known[node.id]), outer.get(id(node))
            while found and found[1] is None and inner is not None:  # a module: go on with its attribute
                found, inner = _resolve(found[0], inner.attr), outer.get(id(inner))
            if found:
                yield found
    yield from filter(None, (_resolve(*target) for _, target in imports))


@cache
def _names_in(module: str) -> dict[str, Target]:
    """What each global name of a module stands for, where it is of the package."""
    return _module(module).imports | {name: (module, name) for name in _module(module).definitions}


@cache
def _resolve(module: str, name: str | None) -> Target | None:
    """Where a name is really defined, following imports; None where it is nothing of the package's."""
    if module not in SOURCES:
        return None
    if name is None or name in _module(module).definitions:
        return module, name
    if name in _module(module).imports:
        return _resolve(*_module(module).imports[name])
    inner = f"{module}.{name}"
    return (inner, None) if inner in SOURCES else None


def _texts(module: _Module, needed: Iterable[Definition], name: str) -> list[str]:
    """Code of those definitions of a module that are needed, in a normal form."""
    wanted = sorted(own for owner, own in needed if owner == name)
    return [f"{name}.{own} {_normal(part)}" for own in wanted for part in module.definitions.get(own, [])]


def _normal(tree: ast.AST) -> str:
    """Code without what cannot change a result: comments, layout, docstrings, and annotations within functions."""
    return ast.unparse(_Bare().visit(ast.parse(ast.unparse(tree))))


class _Bare(ast.NodeTransformer):
    """Removes texts that stand alone as statements, and annotations of arguments, results and local variables."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Nothing, if it is a text that stands alone."""
        return None if isinstance(node.value, ast.Constant) else node

    _depth = 0  # of functions around; annotations of a class's fields count

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign | ast.Assign:
        """A plain assignment, if it is within a function."""
        if not self._depth or node.value is None:
            return node
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Without annotations."""
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        node.returns = None
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in filter(None, arguments):
            argument.annotation = None
        return node
