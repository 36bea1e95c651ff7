"""Campaigns: the same result wherever they run, and nothing lost or run twice whatever happens."""

import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
import zarr
from distributed import LocalCluster

from flowcal.errors import FlowcalWarning, InputError
from flowcal.simulate.campaign import (
    CampaignError,
    CampaignIncomplete,
    IncompleteWarning,
    Runner,
    campaign_path,
    run_campaign,
)
from flowcal.simulate.program import Executable, ProgramFailed
from flowcal.simulate.simulator import SimulationError
from flowcal.simulate.store import StoredResults
from flowcal.simulate.windfarm import WindFarm
from flowcal.simulate.workers import LostWithWorker, Workers, _pool


class Recording:
    """The embedded simulator, keeping count of the runs it is asked for; some fail while `broken` says so."""

    identity = {"name": "recording", "version": "1"}

    def __init__(self, broken=()):
        self.seeds, self.broken = [], set(broken)

    def simulate(self, x, seed):
        self.seeds += seed.tolist()
        rows = np.flatnonzero(np.isin(seed, list(self.broken)))
        if rows.size:
            raise SimulationError("broken", rows)
        return WindFarm().simulate(x, seed)


@pytest.fixture
def design():
    """500 runs with seeds 1 to 500, so that a seed names its row."""
    return np.random.default_rng(3).random((500, 8)), np.arange(1, 501)


@pytest.fixture
def expected(design):
    return WindFarm().simulate(*design)


def test_dataset_is_labelled(design, expected):
    hours = run_campaign(WindFarm(), *design)
    assert dict(hours.sizes) == {"sample": 500, "input": 8, "time": 60, "output": 6}
    assert hours.output.values.tolist() == ["y1", "y2", "y3", "y4", "y5", "y6"]
    assert hours.unit.values.tolist() == ["MW"] * 3 + ["1"] * 3
    assert hours.time.attrs["units"] == "minutes"
    assert np.array_equal(hours.y, expected)
    assert np.array_equal(hours.x, design[0])
    assert np.array_equal(hours.seed, design[1])


@pytest.mark.parametrize("chunk", [1, 7, 500, 10_000])
@pytest.mark.parametrize("stored", [False, True])
def test_result_does_not_depend_on_chunks_or_store(tmp_path, design, chunk, stored):
    if chunk == 1 and stored:
        design = design[0][:40], design[1][:40]
    hours = run_campaign(WindFarm(), *design, Runner(chunk=chunk, folder=tmp_path if stored else None))
    assert hours.load().identical(run_campaign(WindFarm(), *design))


def test_result_does_not_depend_on_workers(tmp_path, design):
    expected = run_campaign(WindFarm(), *design)
    assert run_campaign(WindFarm(), *design, Runner(workers=2, chunk=60)).identical(expected)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        runner = Runner(scheduler=cluster.scheduler_address, chunk=60, folder=tmp_path)
        assert run_campaign(WindFarm(), *design, runner).load().identical(expected)


def test_designs_are_verified_on_a_cluster_as_here():
    from flowcal.decide.failure import sampled_pof
    from flowcal.decide.plane import AleatoryPlane
    from flowcal.decide.problems import compare_performance
    from flowcal.infer.models import PooledDraws  # here, because every worker imports this module

    f_a = PooledDraws(np.random.default_rng(1).random((50, 2)), 50)
    at = {"simulator": WindFarm(), "x_e": [0.3, 0.6, 0.4], "random_seed": 1}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = [
            (
                compare_performance(f_a, designs=[[0.5] * 3, [0.1] * 3], hours=300, runner=runner, **at),
                sampled_pof(AleatoryPlane(f_a), x_c=[0.1] * 3, calls=1500, runner=runner, **at),
            )
            for runner in (Runner(), Runner(scheduler=cluster.scheduler_address, chunk=100))
        ]
    for here, there in zip(*found, strict=True):
        assert here.identical(there)


def test_no_runs_are_a_campaign_too(tmp_path):
    for folder in (None, tmp_path):
        hours = run_campaign(WindFarm(), np.empty((0, 8)), np.empty(0, int), Runner(folder=folder))
        assert hours.y.shape == (0, 60, 6)


def test_finished_campaign_runs_nothing(tmp_path, design, expected):
    simulator = Recording()
    for _ in range(2):
        hours = run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    assert simulator.seeds == design[1].tolist()
    assert np.array_equal(hours.y, expected)


def test_what_is_missing_takes_little_memory(tmp_path):
    runs = 100_000
    x, seed = np.zeros((runs, 8)), np.arange(1, runs + 1)
    results = StoredResults(tmp_path / "many.zarr", {"name": "none"}, x, seed, 100, (60, 6))
    tracemalloc.start()
    try:
        missing = results.missing()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(np.concatenate(list(missing.values())), np.arange(runs))
    assert peak < 10 * seed.nbytes


def test_store_is_read_piece_by_piece(tmp_path, design):
    hours = run_campaign(WindFarm(), *design, Runner(folder=tmp_path, chunk=50))
    assert hours.y.chunks[0] == (50,) * 10


@pytest.mark.parametrize("stored", [False, True])
def test_failures_name_their_rows_and_cost_no_other(tmp_path, design, stored):
    simulator = Recording(broken={78, 79, 300})
    with pytest.raises(
        CampaignIncomplete, match=r"3 of 500 runs failed, the first by SimulationError: broken \(runs concerned: 77\)"
    ) as caught:
        run_campaign(simulator, *design, Runner(folder=tmp_path if stored else None, chunk=50))
    assert [failure.rows.tolist() for failure in caught.value.failures] == [[77], [78], [299]]
    made = [simulator.seeds.count(seed) for seed in design[1]]
    assert set(made[50:77] + made[79:100] + made[250:299]) == {2}  # with the failing ones, and without
    assert set(made[:50] + made[100:250] + made[300:]) == {1}


def test_only_failed_runs_are_tried_again(tmp_path, design, expected):
    simulator = Recording(broken={78, 300})
    with pytest.raises(CampaignIncomplete):
        run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    simulator.broken, simulator.seeds = set(), []
    hours = run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    assert simulator.seeds == [78, 300]
    assert np.array_equal(hours.y, expected)
    assert quarantined(tmp_path) == []


def quarantined(folder):
    (path,) = folder.glob("*.failed.json")
    return json.loads(path.read_text())["runs"]


def test_runs_that_failed_three_times_are_listed(tmp_path, design):
    simulator = Recording(broken={78, 300})
    with pytest.raises(CampaignIncomplete, match=r"They are listed in .*failed\.json"):
        run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    listed = quarantined(tmp_path)
    assert [run["row"] for run in listed] == [77, 299]
    assert [run["seed"] for run in listed] == [78, 300]
    assert listed[0]["x"] == design[0][77].tolist()
    assert listed[0]["errors"] == ["SimulationError: broken"] * 3


def test_a_run_that_succeeds_at_the_third_try_is_no_failure(design, expected):
    class Hiccups(Recording):
        def simulate(self, x, seed):
            if self.seeds.count(78) == 3:  # once in its chunk and twice alone
                self.broken = set()
            return super().simulate(x, seed)

    assert np.array_equal(run_campaign(Hiccups(broken={78}), *design, Runner(chunk=50)).y, expected)


@pytest.mark.parametrize("folder", [False, True])
def test_what_can_do_without_some_runs_is_told_so(tmp_path, design, expected, folder):
    runner = Runner(chunk=50, folder=tmp_path if folder else None, allowed_share=0.01)
    for _ in range(2):
        with pytest.warns(IncompleteWarning, match="2 of 500 runs failed and are left out"):
            hours = run_campaign(Recording(broken={78, 300}), *design, runner, all_needed=False)
        assert hours.incomplete == "2 of 500 runs failed and are left out"
        assert np.array_equal(hours.seed, np.delete(design[1], [77, 299]))
        assert np.array_equal(hours.y, np.delete(expected, [77, 299], axis=0))
    with pytest.raises(CampaignIncomplete):  # where every run counts
        run_campaign(Recording(broken={78, 300}), *design, runner)
    with pytest.raises(CampaignIncomplete):
        run_campaign(Recording(broken=set(range(1, 7))), *design, replace(runner, folder=None), all_needed=False)


@pytest.mark.parametrize("folder", [False, True])
def test_a_chunk_of_which_nothing_succeeds_is_listed_and_may_be_left_out(tmp_path, design, expected, folder):
    runner = Runner(chunk=50, folder=tmp_path if folder else None, allowed_share=0.1)
    simulator = Recording(broken=set(range(101, 151)))
    with pytest.raises(CampaignIncomplete, match="50 of 500 runs failed"):
        run_campaign(simulator, *design, replace(runner, allowed_share=0.09), all_needed=False)
    with pytest.warns(IncompleteWarning, match="50 of 500 runs failed and are left out"):
        hours = run_campaign(simulator, *design, runner, all_needed=False)
    assert np.array_equal(hours.y, np.delete(expected, range(100, 150), axis=0))
    if folder:
        assert [run["row"] for run in quarantined(tmp_path)] == list(range(100, 150))


def test_a_campaign_that_was_given_up_is_no_result_whatever_is_allowed(design):
    simulator = Recording(broken=set(range(1, 501)))
    with pytest.raises(CampaignIncomplete):
        run_campaign(simulator, *design, Runner(chunk=50, allowed_share=0.9), all_needed=False)
    assert max(simulator.seeds) <= 150  # three batches are enough to see it


def test_failed_runs_that_are_allowed_are_not_tried_again(tmp_path, design):
    runner, simulator = Runner(chunk=50, folder=tmp_path, allowed_share=0.01), Recording(broken={78})
    for _ in range(2):
        with pytest.warns(IncompleteWarning):
            run_campaign(simulator, *design, runner, all_needed=False)
        tries, simulator.seeds = simulator.seeds, []
    assert tries == []


def test_a_gap_that_no_list_names_is_run_again(tmp_path, design, expected):
    with pytest.raises(CampaignIncomplete):
        run_campaign(Recording(broken={78}), *design, Runner(folder=tmp_path, chunk=50))
    next(tmp_path.glob("*.failed.json")).unlink()
    simulator = Recording()
    hours = run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    assert simulator.seeds == [78]
    assert np.array_equal(hours.y, expected)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"runs": 3}', '{"runs": [{"row": 600}]}', '{"runs": [{"row": 0, "seed": 9, "errors": ""}]}'],
)
def test_a_list_of_failed_runs_that_is_none_is_refused(tmp_path, design, text):
    with pytest.raises(CampaignIncomplete):
        run_campaign(Recording(broken={78}), *design, Runner(folder=tmp_path, chunk=50))
    next(tmp_path.glob("*.failed.json")).write_text(text)
    with pytest.raises(CampaignError, match="is no list of failed runs"):
        run_campaign(Recording(), *design, Runner(folder=tmp_path, chunk=50))


def test_a_campaign_in_which_nothing_succeeds_stops(design):
    simulator = Recording(broken=set(range(1, 501)))
    with pytest.raises(CampaignIncomplete, match="broken"):
        run_campaign(simulator, *design, Runner(chunk=50))
    assert set(simulator.seeds) == set(range(1, 151))


def test_errors_of_a_program_cross_processes(tmp_path, design):
    program = tmp_path / "model"
    program.write_text("#!/bin/sh\necho out of licences\nexit 7\n")
    program.chmod(0o755)
    with pytest.raises(CampaignIncomplete, match="ProgramFailed.*exit code 7; it said: out of licences") as caught:
        run_campaign(Executable(program), *design, Runner(workers=2, chunk=250))
    assert {type(failure) for failure in caught.value.failures} == {ProgramFailed}
    assert [failure.rows.tolist() for failure in caught.value.failures] == [[row] for row in range(500)]


class Wrong:
    identity = {"name": "wrong"}

    def __init__(self, answer):
        self.answer = answer

    def simulate(self, x, seed):
        return self.answer(len(x))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n: np.ones((n, 6, 60)), r"returned shape \(1, 6, 60\); expected \(1, 60, 6\)"),
        (lambda n: np.ones((n - 1, 60, 6)), r"returned shape \(0, 60, 6\)"),
        (lambda n: np.full((n, 60, 6), np.nan), "y1, is nan; expected finite numbers from 0 up"),
        (lambda n: np.full((n, 60, 6), 1j), "output y holds complex128 values; expected real numbers"),
        (lambda n: np.full((n, 60, 6), None), "output y holds object values; expected real numbers"),
    ],
)
def test_a_simulator_that_breaks_the_protocol_is_reported(design, answer, said):
    with pytest.raises(CampaignIncomplete, match=said):
        run_campaign(Wrong(answer), *design)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:1000], lambda data: data[:5] + b"x" + data[6:], lambda data: b""]
)
def test_damaged_chunk_is_reported_and_run_again(tmp_path, design, expected, damage):
    simulator = Recording()
    run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    chunk = campaign_path(tmp_path, simulator, *design) / "y" / "c" / "3" / "0" / "0"
    chunk.write_bytes(damage(chunk.read_bytes()))
    simulator.seeds = []
    with pytest.warns(UserWarning, match="chunk 3 of .* is damaged and is run again"):
        hours = run_campaign(simulator, *design, Runner(folder=tmp_path))
    assert simulator.seeds == list(range(151, 201))
    assert np.array_equal(hours.y, expected)


def test_what_a_simulator_raises_concerns_its_runs_alone(tmp_path, design):
    class Diverging(Recording):
        def simulate(self, x, seed):
            if 120 in seed:
                raise ValueError("solver diverged")
            return super().simulate(x, seed)

    simulator = Diverging()
    with pytest.raises(CampaignIncomplete, match="1 of 500 runs failed.*ValueError: solver diverged.*119"):
        run_campaign(simulator, *design, Runner(folder=tmp_path, chunk=50))
    assert sorted(simulator.seeds) == [seed for seed in range(1, 501) if seed != 120]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_costs_no_finished_chunk(tmp_path, design, stop):
    class Interrupted(Recording):
        def simulate(self, x, seed):
            if 201 in seed:
                raise stop
            return super().simulate(x, seed)

    first, second = Interrupted(), Recording()
    with pytest.raises(stop):
        run_campaign(first, *design, Runner(folder=tmp_path, chunk=50))
    run_campaign(second, *design, Runner(folder=tmp_path, chunk=50))
    assert first.seeds == list(range(1, 201))
    assert second.seeds == list(range(201, 501))


class Dying(WindFarm):
    """Ends the process that runs seed 78."""

    def simulate(self, x, seed):
        if 78 in seed:
            os._exit(1)
        return super().simulate(x, seed)


def test_a_run_that_ends_its_workers_is_blamed_and_costs_no_other(tmp_path, design, expected):
    small = design[0][72:80], design[1][72:80]
    runner = Runner(workers=2, chunk=2, folder=tmp_path, allowed_share=0.2)
    with pytest.warns(IncompleteWarning, match="1 of 8 runs failed"):
        hours = run_campaign(Dying(), *small, runner, all_needed=False)
    assert quarantined(tmp_path)[0]["errors"] == ["WorkerKilled: every worker that it was given to ended"] * 3
    assert np.array_equal(hours.y, np.delete(expected[72:80], 5, axis=0))


class Endless(WindFarm):
    """Writes down which process runs it, and calls a program that does so too and never returns."""

    def __init__(self, folder):
        self.folder = folder

    def simulate(self, x, seed):
        (self.folder / f"pid-{os.getpid()}").touch()
        return Executable(self.folder / "model").simulate(x, seed)


def endless_campaign(folder):
    run_campaign(Endless(folder), np.full((2, 8), 0.5), [1, 2], Runner(workers=2, chunk=1))


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Meeting(WindFarm):
    """Waits until it runs in three processes at once."""

    def __init__(self, folder):
        self.folder = folder

    def simulate(self, x, seed):
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 600
        while len(list(self.folder.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        return super().simulate(x, seed)


def test_there_are_as_many_processes_as_asked_for(tmp_path, design):
    run_campaign(Meeting(tmp_path), *design, Runner(workers=3, chunk=50))
    assert len(list(tmp_path.iterdir())) == 3


def test_processes_that_were_killed_between_campaigns_are_started_again(design, expected):
    run_campaign(WindFarm(), *design, Runner(workers=2, chunk=250))
    for process in list(_pool(2)._processes.values()):
        process.kill()
        process.join()
    assert np.array_equal(run_campaign(WindFarm(), *design, Runner(workers=2, chunk=250)).y, expected)


def test_a_cluster_without_workers_is_reported_and_waited_for(design, expected, monkeypatch):
    monkeypatch.setattr("flowcal.simulate.workers.PULSE", 0.5)
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster:
        threading.Timer(2, cluster.scale, [1]).start()
        with pytest.warns(FlowcalWarning, match="there are no workers at the moment"):
            hours = run_campaign(WindFarm(), *design, Runner(scheduler=cluster.scheduler_address, chunk=250))
    assert np.array_equal(hours.y, expected)


class Deadly(WindFarm):
    """Ends every process that runs it."""

    def simulate(self, x, seed):
        os._exit(1)


def test_a_simulator_that_ends_every_worker_is_reported(design):
    few = design[0][:2], design[1][:2]
    with pytest.raises(CampaignIncomplete, match="2 of 2 runs failed.*WorkerKilled: every worker"):
        run_campaign(Deadly(), *few, Runner(workers=2, chunk=2))


class Unsendable(WindFarm):
    """Holds what no process can be sent."""

    def __init__(self):
        self.lock = threading.Lock()


def test_a_simulator_that_cannot_be_sent_is_reported(design):
    with pytest.raises(CampaignError, match="the campaign stopped.*TypeError.*has to be importable"):
        run_campaign(Unsendable(), *design, Runner(workers=2, chunk=250))


def test_a_simulator_that_cannot_be_sent_to_a_cluster_is_reported(design):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        runner = Runner(scheduler=cluster.scheduler_address, chunk=250)
        with pytest.raises(CampaignError, match="the simulator cannot be sent to workers"):
            run_campaign(Unsendable(), *design, runner)


def test_a_simulator_of_a_notebook_runs_in_this_process_alone():
    """A kernel has no file that its workers could import."""
    script = """
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.windfarm import WindFarm
class Own(WindFarm): pass
x, seed = [[0.5] * 8] * 2, [1, 2]
print(dict(run_campaign(Own(), x, seed).sizes)["sample"])
run_campaign(Own(), x, seed, Runner(workers=2))
"""
    ran = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True)
    assert ran.stdout == "2\n"
    assert "Own is defined in a notebook; expected a simulator that 2 processes can import" in ran.stderr


class Forgetful(Workers):
    """Makes every call, and loses all batches with their workers once they are stored."""

    def submit(self, function, *args):
        future = super().submit(function, *args)
        future.lost = function.__name__ == "run_batch"
        return future

    def result(self, future):
        if future.lost:
            raise LostWithWorker
        return super().result(future)


def test_what_a_worker_stored_before_it_was_lost_is_not_made_again(tmp_path, design, expected, monkeypatch):
    forgetful = contextmanager(lambda *_: (yield Forgetful()))
    monkeypatch.setattr("flowcal.simulate.campaign.workers_of", forgetful)
    simulator = Recording()
    hours = run_campaign(simulator, *design, Runner(workers=2, chunk=50, folder=tmp_path))
    assert simulator.seeds == design[1].tolist()
    assert np.array_equal(hours.y, expected)


def test_a_run_that_ends_workers_of_a_cluster_is_blamed(design, expected):
    small = design[0][76:80], design[1][76:80]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.scheduler.allowed_failures = 0
        runner = Runner(scheduler=cluster.scheduler_address, chunk=2, allowed_share=0.3)
        with pytest.warns(IncompleteWarning, match="1 of 4 runs failed"):
            hours = run_campaign(Dying(), *small, runner, all_needed=False)
    assert np.array_equal(hours.y, np.delete(expected[76:80], 1, axis=0))


def test_workers_with_another_version_stop_the_campaign(design, monkeypatch):
    monkeypatch.setattr("flowcal.simulate.workers.running_digest", lambda: "another")
    with pytest.raises(CampaignError, match="the worker on .* has another version of flowcal.*restart"):
        run_campaign(WindFarm(), *design, Runner(workers=2, chunk=250))


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from flowcal.simulate.campaign import Runner, run_campaign\n"
        "from flowcal.simulate.windfarm import WindFarm\n"
        "run_campaign(WindFarm(), [[0.5] * 8] * 2, [1, 2], Runner(workers=2))\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "CampaignError: the campaign stopped" in ran.stderr
    assert "has to start the campaign under `if __name__ == '__main__':`" in ran.stderr


def test_workers_and_their_programs_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "model").write_text(f"#!/bin/sh\ntouch {tmp_path}/pid-$$\nexec sleep 6000\n")
    (tmp_path / "model").chmod(0o755)
    process = multiprocessing.get_context("spawn").Process(target=endless_campaign, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 600
    while len(workers := list(tmp_path.glob("pid-*"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    alive = [int(path.name.removeprefix("pid-")) for path in workers]
    while alive:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        alive = [pid for pid in alive if is_alive(pid)]
        time.sleep(0.05)


def test_other_simulators_and_runs_have_other_stores(tmp_path, design):
    x, seed = design
    other = Recording()
    other.identity = {"name": "recording", "version": "2"}
    paths = {
        campaign_path(tmp_path, Recording(), x, seed),
        campaign_path(tmp_path, other, x, seed),
        campaign_path(tmp_path, Recording(), x, seed + 1),
        campaign_path(tmp_path, Recording(), x / 2, seed),
    }
    assert len(paths) == 4


def test_a_store_of_something_else_is_refused(tmp_path, design):
    x, seed = design
    first, second = (campaign_path(tmp_path, WindFarm(), x, s) for s in (seed, seed + 1))
    run_campaign(WindFarm(), x, seed, Runner(folder=tmp_path))
    first.rename(second)
    with pytest.raises(CampaignError, match="holds another campaign"):
        run_campaign(WindFarm(), x, seed + 1, Runner(folder=tmp_path))
    (second / "y" / "zarr.json").unlink()
    with pytest.raises(CampaignError, match="is not a campaign's store"):
        run_campaign(WindFarm(), x, seed + 1, Runner(folder=tmp_path))


def test_a_store_with_a_folder_in_place_of_its_outputs_is_refused(tmp_path, design):
    x, seed = design
    path = campaign_path(tmp_path, WindFarm(), x, seed)
    run_campaign(WindFarm(), x, seed, Runner(folder=tmp_path))
    shutil.rmtree(path / "y")
    zarr.open_group(path).create_group("y")
    with pytest.raises(CampaignError, match="is not a campaign's store"):
        run_campaign(WindFarm(), x, seed, Runner(folder=tmp_path))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("y/zarr.json", lambda text: text.replace("crc32c", "nameless")),
        ("y/zarr.json", lambda text: text.replace('"crc32c"', '"gzip", "configuration": {"level": 1}')),
        ("y/zarr.json", lambda text: text.replace('"little"', '"big"')),
        ("y/zarr.json", lambda text: text.replace('"zarr_format": 3', '"zarr_format": 2')),
        ("zarr.json", lambda text: ""),
    ],
)
def test_a_store_that_cannot_be_opened_is_refused(tmp_path, design, file, change):
    run_campaign(WindFarm(), *design, Runner(folder=tmp_path))
    path = campaign_path(tmp_path, WindFarm(), *design) / file
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(CampaignError, match="is not a campaign's store"):
        run_campaign(WindFarm(), *design, Runner(folder=tmp_path))


class Listening(io.StringIO):
    """Notices what is written to it."""

    def __init__(self, text):
        super().__init__()
        self.text, self.heard = text, threading.Event()

    def write(self, text):
        if self.text in text:
            self.heard.set()
        return super().write(text)


def test_a_store_in_use_is_waited_for(tmp_path, design, expected, monkeypatch):
    inside, waited = threading.Event(), threading.Event()
    said = Listening("is in use by another process; waiting until that has finished")
    monkeypatch.setattr("sys.stderr", said)

    class Waiting(Recording):
        def simulate(self, x, seed):
            inside.set()
            assert waited.wait(600)
            return super().simulate(x, seed)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run_campaign, Waiting(), *design, Runner(folder=tmp_path))
        assert inside.wait(600)
        simulator = Recording()
        second = threads.submit(run_campaign, simulator, *design, Runner(folder=tmp_path))
        assert said.heard.wait(600)
        assert not second.done()
        waited.set()
        assert np.array_equal(first.result().y, expected)
        assert np.array_equal(second.result().y, expected)
    assert simulator.seeds == []


@pytest.mark.parametrize("setting", [{"workers": 0}, {"chunk": 0}])
def test_refuses_runners_that_cannot_run(setting):
    with pytest.raises(InputError, match="is 0; expected a whole number from 1 up"):
        Runner(**setting)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here"])
def test_a_scheduler_that_does_not_answer_is_reported(design, address, monkeypatch):
    monkeypatch.setattr("flowcal.simulate.workers.ANSWER", 1)
    with pytest.raises(CampaignError, match="no Dask scheduler answers at"):
        run_campaign(WindFarm(), *design, Runner(scheduler=address))
