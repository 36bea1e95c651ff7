"""Dask clusters as the page *Campaigns on a cluster* sets them up: over TLS, and with workers on other machines."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from socket import create_connection
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from flowcal.simulate.windfarm import WindFarm

PAGE = (ROOT / "book" / "clusters.md").read_text()
PATIENCE = 600  # seconds, of which an idle machine needs a few


def block(marker):
    """The page's one block of code that has these words."""
    blocks = re.findall(r"^```(?:shell|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if marker in text]
    return found


def environment(**more):
    """This process's, less what may be said to Dask in it, with the package and the tests importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


@contextmanager
def started(name, arguments, folder, env, before=()):
    """A scheduler or worker of Dask as a process of its own, which ends with the context."""
    with (folder / f"{name}.log").open("w") as log:
        command = [*before, sys.executable, "-m", f"distributed.cli.dask_{name.split('-')[0]}", *arguments]
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address_of(scheduler, folder):
    """What a scheduler writes into its file once it listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return json.loads((folder / "scheduler.json").read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            assert time.monotonic() < deadline, "the scheduler does not listen"
            time.sleep(0.05)


def run_script(path, *arguments, env, before=()):
    return subprocess.run(
        [*before, sys.executable, path, *arguments],
        env=env,
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def make_certificates(folder):
    """Run the page's commands in a folder; returns the variables that the page has one export there."""
    folder.mkdir()
    subprocess.run(["bash", "-ec", block("openssl req -x509")], cwd=folder, check=True, capture_output=True)
    said = subprocess.run(
        ["bash", "-ec", block("TLS__CA_FILE") + "env -0"],
        cwd=folder,
        env=environment(),
        check=True,
        capture_output=True,
    )
    variables = dict(line.split("=", 1) for line in said.stdout.decode().split("\0") if line)
    return {name: value for name, value in variables.items() if name.startswith("DASK_")}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Folder with certificates of two authorities, the variables for either, and a cluster of the first."""
    for program in ("openssl", "bash"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = make_certificates(folder / "ours"), make_certificates(folder / "foreign")
    (folder / "check_cluster.py").write_text(block("there.identical"))
    here = ["--host", "tls://127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    with ExitStack() as stack:
        env = environment(**ours)
        scheduler = stack.enter_context(
            started("scheduler", [*here, "--scheduler-file", "scheduler.json"], folder, env)
        )
        address = address_of(scheduler, folder)
        there = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--nthreads", "1", "--no-nanny"]
        stack.enter_context(started("worker", [address, *there], folder, env))
        yield folder, address, ours, foreign


def test_campaign_over_tls_gives_the_same_bits(secured):
    folder, address, ours, _ = secured
    assert address.startswith("tls://")
    ran = run_script(folder / "check_cluster.py", address, env=environment(**ours))
    assert ran.stdout == "True\n", ran.stderr


def first_bytes(address, authority, certificate=None):
    """What the scheduler says first to whoever connects with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    if certificate:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    where = urlsplit(address)
    with (
        create_connection((where.hostname, where.port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return connection.recv(1)


def test_scheduler_speaks_only_to_its_own_authority(secured):
    folder, address, _, _ = secured
    authority = folder / "ours" / "tls" / "ca.pem"
    assert first_bytes(address, authority, folder / "ours" / "tls" / "cluster.pem")
    with pytest.raises(ssl.SSLError, match="alert certificate required"):
        first_bytes(address, authority)
    with pytest.raises(ssl.SSLError, match="alert"):
        first_bytes(address, authority, folder / "foreign" / "tls" / "cluster.pem")


def test_client_of_another_authority_is_refused(secured):
    folder, address, ours, foreign = secured
    client = {name: value for name, value in foreign.items() if "__CLIENT__" in name}
    ran = run_script(folder / "check_cluster.py", address, env=environment(**ours | client))
    assert ran.returncode == 1
    assert f"CampaignError: no Dask scheduler answers at {address!r}" in ran.stderr


class Noting(WindFarm):
    """The embedded simulator, leaving a file named by the network that it runs in."""

    def __init__(self, folder):
        self.folder = folder

    def simulate(self, x, seed):
        (self.folder / f"network-{network()}").touch()
        return super().simulate(x, seed)


def network():
    """Number of the network namespace of this process."""
    return os.stat("/proc/self/ns/net").st_ino


CLIENT = """
import json, sys
from pathlib import Path

import numpy as np
from distributed import Client
from test_cluster import Noting, network

from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.windfarm import WindFarm

address, folder = sys.argv[1], Path(sys.argv[2])
with Client(address) as client:
    client.wait_for_workers(2, timeout=60)
    networks = client.run(network)
x, seed = np.random.default_rng(3).random((500, 8)), np.arange(1, 501)
hours = run_campaign(Noting(folder), x, seed, Runner(scheduler=address, folder=folder / "campaigns", chunk=25))
same = bool(np.array_equal(hours.y, WindFarm().simulate(x, seed)))
print(json.dumps({"same": same, "networks": networks, "own": network()}))
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def machines():
    """Three network namespaces that reach one another and nothing else: a head with a bridge, and two for workers."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("network namespaces are made by root only")
    if shutil.which("ip") is None:
        pytest.skip("no ip (iproute2) on this machine")
    head, *others = names = [f"flowcal-{os.getpid()}-{number}" for number in range(3)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", head, "link", "add", "bridge", "type", "bridge")
            ip("-n", head, "link", "set", "bridge", "up")
            ip("-n", head, "address", "add", "10.99.0.1/24", "dev", "bridge")
            for number, name in enumerate(others, start=2):
                ip("-n", head, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth1", "netns", name)
                ip("-n", head, "link", "set", f"to{number}", "master", "bridge", "up")
                ip("-n", name, "address", "add", f"10.99.0.{number}/24", "dev", "eth1")
                ip("-n", name, "link", "set", "eth1", "up")
        except subprocess.CalledProcessError as error:
            if not re.search("not permitted|denied|not supported|Unknown device type", error.stderr):
                raise
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=PATIENCE)


def test_workers_on_other_machines_give_the_same_bits(tmp_path, machines):
    """Their networks are their own; the file system is shared."""
    head, *others = machines
    inside = {name: ["ip", "netns", "exec", name] for name in machines}
    (tmp_path / "client.py").write_text(CLIENT)
    with ExitStack() as stack:
        here = ["--interface", "bridge", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        scheduler = stack.enter_context(
            started("scheduler", [*here, "--scheduler-file", "scheduler.json"], tmp_path, environment(), inside[head])
        )
        address = address_of(scheduler, tmp_path)
        there = ["--interface", "eth1", "--dashboard-address", "127.0.0.1:0", "--nthreads", "1", "--no-nanny"]
        for number, name in enumerate(others):
            stack.enter_context(started(f"worker-{number}", [address, *there], tmp_path, environment(), inside[name]))
        ran = run_script(tmp_path / "client.py", address, tmp_path, env=environment(), before=inside[head])
        assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["same"]
    assert {urlsplit(worker).hostname for worker in said["networks"]} == {"10.99.0.2", "10.99.0.3"}
    assert len({*said["networks"].values(), said["own"], network()}) == 4
    ran_in = {int(path.name.removeprefix("network-")) for path in tmp_path.glob("network-*")}
    assert ran_in
    assert ran_in <= set(said["networks"].values())


COUNTING = """
import sys

import numpy as np

from flowcal.errors import FlowcalError
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.windfarm import WindFarm

x, seed = np.random.default_rng(1).random((50, 8)), np.arange(1, 51)
try:
    there = run_campaign(WindFarm(), x, seed, Runner(scheduler=sys.argv[1], chunk=10))
    print(there.identical(run_campaign(WindFarm(), x, seed)), float(there.y.sum()))
except FlowcalError as error:
    print(error)
"""


def test_a_worker_that_runs_older_code_stops_the_campaign(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "script.py").write_text(COUNTING)
    edited = environment(PYTHONPATH=str(tmp_path / "src"))
    here = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    there = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--nthreads", "1", "--no-nanny"]
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            started("scheduler", [*here, "--scheduler-file", "scheduler.json"], tmp_path, edited)
        )
        address = address_of(scheduler, tmp_path)
        stack.enter_context(started("worker", [address, *there], tmp_path, edited))
        before = run_script(tmp_path / "script.py", address, env=edited).stdout
        simulator = tmp_path / "src" / "flowcal" / "simulate" / "windfarm.py"
        simulator.write_text(simulator.read_text().replace("DIAMETER = 126.0", "DIAMETER = 120.0  # edited"))
        after = run_script(tmp_path / "script.py", address, env=edited).stdout
    assert before.startswith("True ")
    assert "has another version of flowcal than the process of the campaign; restart the older one" in after
