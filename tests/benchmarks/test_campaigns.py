"""Campaigns over workers: how much faster they are, and what they cost beside the runs themselves."""

import importlib
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from flowcal.code import running_digest
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.program import Executable
from flowcal.simulate.windfarm import WindFarm

PROGRAM = """#!{python} -S
import sys, time
seeds = [int(float(line.replace(",", " ").split()[-1])) for line in open(sys.argv[1])]
{work}
with open("Y_out.csv", "w") as output:
    for run, seed in enumerate(seeds, 1):
        output.write(f"1,1,1,{{seed}},1,1,{{run}}\\n" * 60)
"""
COMPUTES = "end = time.process_time() + 0.2 * len(seeds)\nwhile time.process_time() < end: sum(range(10_000))"
WAITS = "time.sleep(0.2 * len(seeds))"


@pytest.fixture
def program(tmp_path):
    """A program that spends 0.2 s a run, and returns its seed."""

    def make(work):
        path = tmp_path / "model"
        path.write_text(PROGRAM.format(python=sys.executable, work=work))
        path.chmod(0o755)
        return Executable(path)

    return make


def seconds(simulator, workers, runs, chunk):
    """Of a campaign on a cluster of processes that are there already, and have loaded the study."""
    x, seed = np.random.default_rng(1).random((runs, 8)), np.arange(1, runs + 1)
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="localhost:0") as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(workers)
            client.run(importlib.import_module, "flowcal.simulate.campaign")
            client.run(running_digest)
        start = time.perf_counter()
        hours = run_campaign(simulator, x, seed, Runner(scheduler=cluster.scheduler_address, chunk=chunk))
        elapsed = time.perf_counter() - start
    assert np.array_equal(hours.y.isel(output=3), np.tile(seed[:, None], 60))
    return elapsed


def test_two_workers_are_nearly_twice_as_fast_as_one(record, program):
    model = program(COMPUTES)
    ratios = [seconds(model, 1, 300, 5) / seconds(model, 2, 300, 5) for _ in range(3)]
    record("two_workers_over_one_computing", speedups=[round(ratio, 2) for ratio in ratios], target=1.8)
    assert np.median(ratios) >= 1.8


def test_sixteen_workers_wait_at_once(record, program):
    model = program(WAITS)
    ratio = seconds(model, 1, 1280, 10) / seconds(model, 16, 1280, 10)
    record("sixteen_workers_over_one_waiting", speedup=round(ratio, 1), target=14)
    assert ratio >= 14


class Free(WindFarm):
    """Hours that cost nothing."""

    def simulate(self, x, seed):
        return np.zeros((len(x), 60, 6))


def test_a_chunk_on_a_cluster_costs_little(record, tmp_path):
    chunks, size = 500, 20
    x, seed = np.random.default_rng(1).random((chunks * size, 8)), np.arange(1, chunks * size + 1)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="localhost:0") as cluster:
        costs = []
        for turn in range(5):
            runner = Runner(scheduler=cluster.scheduler_address, folder=tmp_path / str(turn), chunk=size)
            start = time.perf_counter()
            run_campaign(Free(), x, seed, runner)
            costs.append(1000 * (time.perf_counter() - start) / chunks)
    record("cluster_overhead_ms_per_chunk", measured=[round(cost, 1) for cost in costs], target=20)
    assert np.median(costs) < 20


MILLION = """
import sys
from pathlib import Path
import numpy as np
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.windfarm import WindFarm

if __name__ == "__main__":
    hours = 1_000_000
    x, seed = np.random.default_rng(1).random((hours, 8)), np.arange(1, hours + 1)
    y = run_campaign(WindFarm(), x, seed, Runner(workers=2, folder=Path(sys.argv[1]))).y
    for start in range(0, hours, 10_000):
        rows = slice(start, start + 10_000)
        assert np.array_equal(y[rows].values, WindFarm().simulate(x[rows], seed[rows]))
"""


def test_a_million_hours_through_workers_in_little_memory(record, tmp_path):
    script = tmp_path / "million.py"
    script.write_text(MILLION)
    start, peak = time.perf_counter(), {}
    process = subprocess.Popen([sys.executable, script, tmp_path])
    watch = threading.Thread(target=watch_memory, args=(process.pid, peak))
    watch.start()
    assert process.wait() == 0
    watch.join()
    client, *workers = (round(value / 2**20) for value in sorted(peak.values(), reverse=True)[:3])
    record(
        "million_hours_through_two_workers",
        seconds=round(time.perf_counter() - start, 1),
        largest_MiB=[client, *workers],
        target=2048,
    )
    assert max(peak.values()) < 2 * 2**30


def watch_memory(pid, peak):
    """Largest resident memory of a process and each of its descendants."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for member in family:
                peak[member.pid] = max(peak.get(member.pid, 0), member.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
