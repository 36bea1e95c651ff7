"""Every fault of `faults` twenty times; the book shows the table."""

import os

import pytest
from faults import ALL, inject

TIMES = 20


@pytest.mark.parametrize("fault", ALL)
def test_twenty_of_each_cost_nothing(record, fault, tmp_path):
    seed = int.from_bytes(os.urandom(4))
    cost = inject(fault, tmp_path, TIMES, seed)
    record(f"fault: {fault}", seed=seed, **cost)
    assert cost == {"injected": TIMES, "lost": 0, "twice": 0, "wrong": 0}
