"""Fuzz one reader with atheris, guided by which code of the package an input reaches.

Atheris is no requirement of the project. With it installed::

    python -m pip install atheris
    python tests/fuzzing/fuzz_readers.py weights 120

fuzzes the reader of networks' weights for two minutes; the last line, "Done … runs", says how many inputs that were.
Without a name, it lists the readers. It stops at the first input on which a reader does what `readers.examine` forbids:
an error that is not the library's own, a wrong result, a file opened elsewhere, too much time or memory. That input is
left in a file ``crash-…``, ``timeout-…`` or ``oom-…`` in the working folder, and may be named in place of the seconds
to run it alone.
"""

import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "src")]
with atheris.instrument_imports(include=["flowcal"]):
    from readers import READERS, examine, spoiled

AT_MOST = ["-timeout=120", "-rss_limit_mb=3000", "-max_len=200000", "-len_control=0"]
inputs = 0


def mutate(content: bytes, largest: int, seed: int) -> bytes:
    """Half of the time libFuzzer's mutation of bytes, half of the time one that knows tables and JSON."""
    rng = random.Random(seed)
    other = spoiled(content, rng) if rng.random() < 0.5 else atheris.Mutate(content, largest)
    return other[:largest]


def main(name: str, budget: str) -> None:
    """Fuzz a reader for so many seconds, or feed it one file."""
    global inputs
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(READERS[name].seeds()):
            (corpus / str(number)).write_bytes(seed)

        def feed(content: bytes) -> None:
            global inputs
            examine(name, Path(place, "reader", "inside"), content)
            inputs += 1
            if inputs % 1000 == 0:
                print(f"{name}: {inputs} inputs", flush=True)

        what = [f"-max_total_time={budget}", str(corpus)] if budget.isdigit() else [budget]
        atheris.Setup([sys.argv[0], *AT_MOST, *what], feed, custom_mutator=mutate)
        atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        raise SystemExit(f"usage: {sys.argv[0]} READER [SECONDS or FILE]; readers are {', '.join(READERS)}")
    main(sys.argv[1], (sys.argv[2:] or ["60"])[0])
