"""What several tests share."""

import http.server
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mini_project import project  # noqa: F401, a fixture for all tests

ROOT = Path(__file__).parents[1]
SLOWEST = ("pages", "study", "um2_epistemic", "freshness", "campaign", "um2_aleatory", "replication", "faults", "book")
"""Files of tests that start first, so that no processor waits for them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; each stays whole."""
    places = {f"test_{name}": place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def check_data() -> Path:
    """Folder of the challenge's public input and output pairs, which the project does not ship."""
    folder = Path(os.environ.get("FLOWCAL_CHECK_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "Y_out_example.csv").exists():
        pytest.skip(f"no challenge data in {folder}; FLOWCAL_CHECK_DATA may name a folder that has it")
    return folder


@pytest.fixture(scope="session")
def runs() -> tuple[np.ndarray, np.ndarray]:
    """700 runs, more than two blocks of the embedded simulator: x (700, 8) and seed (700,)."""
    rng = np.random.default_rng(7)
    return rng.random((700, 8)), rng.integers(1, 2**31, 700)


@pytest.fixture
def in_project(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder as the working folder."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def estimator():
    """An estimator of X_a from an hour, trained on fewer simulations than the study's own."""
    from flowcal.infer.train import Training
    from flowcal.infer.um2_aleatory import AleatoryEstimator, train_estimator
    from flowcal.simulate.windfarm import WindFarm

    training = Training(epochs=10, batch_size=512, learning_rate=2e-3)
    return AleatoryEstimator.from_weights(train_estimator(WindFarm(), 150_000, training))


@pytest.fixture(scope="module")
def address():
    """Of a server on the loopback that hands out the book."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=ROOT / "_build" / "html")
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    from flowcal.report.book import PrintError, find_chromium

    try:
        path = find_chromium()
    except PrintError as error:
        pytest.skip(str(error))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
