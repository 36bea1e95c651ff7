"""Where measurements are kept, and what each was made on."""

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "book" / "published" / "benchmarks.json"
NAMED = ("numpy", "scipy", "torch", "zuko", "dask", "pyswarms", "sbi", "lampe", "openturns", "atheris")


@pytest.fixture
def record() -> Callable[..., None]:
    """Print a measurement and keep it beside its target and the machine that it was made on."""

    def write(name: str, **measured: object) -> None:
        print(f"\n{name}: {measured}")
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        results |= {name: measured | {"made_on": machine()}}
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")

    return write


@pytest.fixture
def measured() -> Callable[[dict[str, object]], None]:
    """Keep numbers in measured.json, a flat object that the book may show."""

    def write(numbers: dict[str, object]) -> None:
        path = RESULTS.with_name("measured.json")
        found = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(found | numbers, indent=1, sort_keys=True) + "\n")

    return write


def machine() -> str:
    """Processor, Python and the packages that decide how fast things are."""
    packages = [f"{name} {found}" for name in NAMED if (found := installed(name))]
    parts = (f"{os.cpu_count()} processors ({processor()})", f"Python {platform.python_version()}", *packages)
    return ", ".join(parts)


def processor() -> str:
    """Its model, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def installed(name: str) -> str | None:
    """The version of a package, or None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
