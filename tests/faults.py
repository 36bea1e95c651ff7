"""Faults that campaigns have to survive, injected at random moments, and what each of them cost.

Every function here runs one campaign with a fault injected so many times, and returns how many chunks or runs were
lost, made twice, or stored wrongly: all have to be none. `test_faults` injects each fault once, or several times where
it is marked as long, and `benchmarks/test_faults` twenty times.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from flowcal.simulate.campaign import CampaignError, Runner, campaign_path, run_campaign
from flowcal.simulate.program import Executable
from flowcal.simulate.windfarm import WindFarm

CHUNK, RUNS = 20, 2000


def design(runs=RUNS):
    """Runs with seeds 1 to `runs`, so that a seed names its row."""
    return np.random.default_rng(3).random((runs, 8)), np.arange(1, runs + 1)


class Watched(WindFarm):
    """The embedded simulator, slowed down, writing down each chunk it is asked for, and if that was there before."""

    identity = {"name": "watched"}

    def __init__(self, folder, pause):
        self.folder, self.pause = folder, pause

    def simulate(self, x, seed):
        for chunk in sorted(set((seed - 1) // CHUNK)):
            stored = any(any(place.glob(f"*.zarr/y/c/{chunk}/0/0")) for place in (self.folder, self.folder / "disk"))
            with open(self.folder / "asked", "a") as file:
                file.write(f"{chunk} {'again' if stored else 'new'} {os.getpid()}\n")
        time.sleep(self.pause * len(seed) / CHUNK)
        return super().simulate(x, seed)


def asked(folder):
    path = folder / "asked"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def judge(folder, injected, hours):
    """What a campaign of `Watched` came to."""
    x, seed = design(hours.sizes["sample"])
    stored = {int(path.parts[-3]) for path in folder.glob("**/*.zarr/y/c/*/0/0")}
    wrong = ~np.equal(hours.y.values, WindFarm().simulate(x, seed)).all(axis=(1, 2))
    return {
        "injected": injected,
        "lost": len(set(range(len(x) // CHUNK)) - stored),
        "twice": sum(state == "again" for _, state, _ in asked(folder)),
        "wrong": int(wrong.sum()),
    }


def watched_campaign(folder, pause=0.05, store=None, **runner):
    return run_campaign(Watched(folder, pause), *design(), Runner(folder=store or folder, chunk=CHUNK, **runner))


@contextmanager
def meanwhile(call):
    """Something that goes on beside the body; its result is in the list."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    thread.start()
    try:
        yield result
    finally:
        thread.join()


def worker_killed(folder, times, rng):
    """kill -9 of a worker process, which a new pool replaces."""
    with meanwhile(lambda: watched_campaign(folder, pause=0.2 + times / 100, workers=2)) as result:
        for _ in range(times):
            before = len(asked(folder))
            while len(asked(folder)) == before and not result:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            assert not result, "the campaign ended before the last worker was killed"
            with suppress(psutil.NoSuchProcess):  # the worker may have ended with a pool that broke
                psutil.Process(int(asked(folder)[-1][2])).kill()
    return judge(folder, times, result[0])


def worker_of_a_cluster_killed(folder, times, rng):
    """kill -9 of a Dask worker, and another in its place."""
    port = free_port()
    scheduler, *workers = start_cluster(port)
    runner = {"scheduler": f"tcp://127.0.0.1:{port}"}
    try:
        with meanwhile(lambda: watched_campaign(folder, pause=0.2 + times / 10, **runner)) as result:
            for _ in range(times):
                before = len(asked(folder))
                while len(asked(folder)) == before and not result:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 0.5))
                assert not result, "the campaign ended before the last worker was killed"
                stop(workers[:1])
                workers = [*workers[1:], start_worker(port)]
    finally:
        stop([scheduler, *workers])
    return judge(folder, times, result[0])


def client_killed(folder, times, rng):
    """kill -9 of the process that runs the campaign; another takes it up."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["flowcal.simulate.campaign", "flowcal.simulate.windfarm"])
    for _ in range(times):
        before = len(asked(folder))
        process = processes.Process(target=watched_campaign, args=(folder, 0.2))
        process.start()
        while len(asked(folder)) == before:
            assert process.is_alive(), "the campaign ended before it could be killed"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    return judge(folder, times, watched_campaign(folder))


def two_clients(folder, times, rng):
    """More clients on the same store, which wait for the first and find all chunks made."""
    clients = [lambda: watched_campaign(folder)]
    for _ in range(times):
        clients.append(lambda: time.sleep(rng.uniform(0, 2 / times)) or watched_campaign(folder))
    with ThreadPoolExecutor(times + 1) as threads:
        first, *others = list(threads.map(lambda call: call().load(), clients))
    assert all(hours.identical(first) for hours in others)
    return judge(folder, times, first)


def scheduler_lost(folder, times, rng):
    """kill -9 of a Dask scheduler: the campaign stops, and goes on when it is run again with another scheduler."""
    port = free_port()
    runner = {"scheduler": f"tcp://127.0.0.1:{port}"}
    for _ in range(times):
        cluster = start_cluster(port)
        try:
            with meanwhile(lambda: stopped(lambda: watched_campaign(folder, pause=0.2 + times / 10, **runner))) as said:
                before = len(asked(folder))
                while len(asked(folder)) == before and not said:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 1))
                assert not said, "the campaign ended before the scheduler was killed"
                stop(cluster[:1])
        finally:
            stop(cluster)
        assert "scheduler" in said[0]
        assert "is gone" in said[0]
    return judge(folder, times, watched_campaign(folder))


def stopped(call):
    """What a campaign says that has to stop."""
    with pytest.raises(CampaignError) as caught:
        call()
    return str(caught.value)


def free_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_cluster(port):
    """A scheduler and two workers, each a process of its own."""
    return [start("scheduler", "--host", "127.0.0.1", "--port", str(port)), start_worker(port), start_worker(port)]


def start_worker(port):
    return start("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny")


def start(kind, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments, "--no-dashboard"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stop(processes):
    for process in processes:
        process.kill()
        process.wait()


PYTHON_LINE = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
' '''
"""  # the first line of a program in Python, for an interpreter whose path may have spaces

PROGRAM = """{python}import os, pathlib, random, sys, time
sys.path[:0] = {path!r}
from flowcal.simulate.program import read_runs, write_output
from flowcal.simulate.windfarm import WindFarm
folder = pathlib.Path({folder!r})
x, seed = read_runs(pathlib.Path(sys.argv[1]))
y, output = WindFarm().simulate(x, seed), pathlib.Path("Y_out.csv")
hit = None
for number in seed.tolist():
    try:
        (folder / f"due-{{number}}").unlink()
    except FileNotFoundError:
        continue
    hit = seed.tolist().index(number)
    break
if hit is not None:
    (folder / f"injected-{{seed[hit]}}").touch()
    {fault}
    sys.exit()
write_output(output, y)
with open(folder / "delivered", "a") as file:
    print(*seed.tolist(), file=file)
"""
FAULTS_OF_A_PROGRAM = {
    "hangs": "time.sleep(6000)",
    "exits non-zero": "sys.exit(random.randrange(1, 128))",
    "writes half a file": (
        "write_output(output, y); size = output.stat().st_size; os.truncate(output, random.randrange(size - 1))"
    ),
    "writes NaN": "y[hit, random.randrange(60), random.randrange(6)] = float('nan'); write_output(output, y)",
    "writes the wrong number of samples": "write_output(output, random.choice([y[1:], y.repeat(2, axis=0)]))",
}


def program_fails(fault, folder, times, rng):
    """A program that fails on some of its runs the first time that it is given them."""
    runs = max(60, 10 * times)
    x, seed = design(runs)
    for number in rng.choice(seed[1:], times, replace=False):  # where the first run hangs, all are taken to hang
        (folder / f"due-{number}").touch()
    model = folder / "model"
    time_limit = 20 if fault == "hangs" else 600
    fault = FAULTS_OF_A_PROGRAM[fault]
    model.write_text(PROGRAM.format(python=PYTHON_LINE, path=sys.path, folder=str(folder), fault=fault))
    model.chmod(0o755)
    hours = run_campaign(Executable(model, time_limit), x, seed, Runner(folder=folder, chunk=10))
    wrong = ~np.equal(hours.y.values, WindFarm().simulate(x, seed)).all(axis=(1, 2))
    delivered = (folder / "delivered").read_text().split()
    return {
        "injected": len(list(folder.glob("injected-*"))),
        "lost": len(set(map(str, seed)) - set(delivered)),
        "twice": len(delivered) - len(set(delivered)),
        "wrong": int(wrong.sum()),
    }


def disk_full(folder, times, rng):
    """A small file system that something else fills, until it is cleared."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    try:
        for _ in range(times):
            room = int(rng.integers(150_000, 280_000))
            (disk / "filler").write_bytes(b"0" * (shutil.disk_usage(disk).free - room))
            with pytest.raises(CampaignError, match="No space left on device"):
                watched_campaign(folder, pause=0, store=disk)
            (disk / "filler").unlink()
        return judge(folder, times, watched_campaign(folder, pause=0, store=disk).load())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def chunk_damaged(folder, times, rng):
    """Bytes changed in a stored chunk, or its end cut off: it is made again, and no other."""
    watched_campaign(folder, pause=0)
    (folder / "asked").unlink()
    path = campaign_path(folder, Watched(folder, 0), *design())
    damaged = rng.choice(RUNS // CHUNK, times, replace=False)
    for chunk in damaged:
        file = path / "y" / "c" / str(chunk) / "0" / "0"
        content = bytearray(file.read_bytes())
        place = int(rng.integers(len(content)))
        content[place] ^= int(rng.integers(1, 256))
        file.write_bytes(content if rng.random() < 0.5 else content[:place])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that chunks are damaged, as they are
        hours = watched_campaign(folder, pause=0)
    made = [int(chunk) for chunk, _, _ in asked(folder)]
    return judge(folder, times, hours) | {"twice": len(made) - len(set(made)) + len(set(made) ^ set(damaged.tolist()))}


def store_of_another(folder, times, rng):
    """A store that another simulator, other runs or another version has left under this name: refused."""
    x, seed = design()
    watched_campaign(folder, pause=0)
    path = campaign_path(folder, Watched(folder, 0), x, seed)
    manifest = (path / "zarr.json").read_text()
    changes = [('"format": 1', '"format": 2'), ("watched", "another"), ('"digest": "', '"digest": "0')]
    for _ in range(times):
        before, after = changes[rng.integers(len(changes))]
        assert before in manifest
        (path / "zarr.json").write_text(manifest.replace(before, after))
        with pytest.raises(CampaignError, match="holds another campaign"):
            watched_campaign(folder, pause=0)
    (path / "zarr.json").write_text(manifest)
    return judge(folder, times, watched_campaign(folder, pause=0))


FAULTS = {
    "worker killed": worker_killed,
    "worker of a cluster killed": worker_of_a_cluster_killed,
    "scheduler lost": scheduler_lost,
    "client killed": client_killed,
    "second client on the store": two_clients,
    "disk full": disk_full,
    "chunk damaged": chunk_damaged,
    "store of another simulator, seed or version": store_of_another,
}


def inject(fault: str, folder: Path, times: int, seed: int) -> dict[str, int]:
    """Inject a fault of `FAULTS`, or ``program …`` of `FAULTS_OF_A_PROGRAM`, so many times."""
    rng = np.random.default_rng(seed)
    if fault.startswith("program "):
        return program_fails(fault.removeprefix("program "), folder, times, rng)
    return FAULTS[fault](folder, times, rng)


ALL = [*FAULTS, *(f"program {name}" for name in FAULTS_OF_A_PROGRAM)]
