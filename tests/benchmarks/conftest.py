"""Where the measured ratios are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "book" / "published" / "benchmarks.json"


@pytest.fixture
def record() -> Callable[..., None]:
    """Print a measurement and keep it beside its target."""

    def write(name: str, **measured: object) -> None:
        print(f"\n{name}: {measured}")
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(results | {name: measured}, indent=1, sort_keys=True) + "\n")

    return write
