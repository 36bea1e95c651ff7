"""Whatever fails in a campaign, nothing finished is lost or made again, and nothing wrong is stored."""

import os
import shutil
import subprocess

import pytest
from faults import ALL, inject

TIMES = 5


def can_mount(folder):
    """Whether this process may mount a small file system there."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode == 0:
        subprocess.run(["umount", folder], check=True)
    return mounted.returncode == 0


@pytest.mark.parametrize("fault", ALL)
@pytest.mark.parametrize("times", [1, pytest.param(TIMES, marks=pytest.mark.long)])
def test_faults_cost_nothing(fault, times, tmp_path):
    if fault == "disk full" and not can_mount(tmp_path):
        pytest.skip("a small file system takes root and the right to mount")
    assert inject(fault, tmp_path, times, seed=1) == {"injected": times, "lost": 0, "twice": 0, "wrong": 0}
