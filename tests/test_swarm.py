"""Swarms: they find a minimum, repeat themselves, and leave neither traces nor another's random numbers changed."""

import logging

import numpy as np

from flowcal.decide.paper import fly


def bowl(x_c):
    return np.square(x_c - [0.2, 0.9, 1.0]).sum(axis=1)


def test_a_swarm_finds_the_minimum_even_at_a_bound():
    swarm = fly(bowl, 20, 60, 1)
    assert np.abs(swarm.x_c - [0.2, 0.9, 1.0]).max() < 1e-3
    assert len(swarm.costs) == 60
    assert (np.diff(swarm.costs) <= 0).all()


def test_the_same_seed_flies_the_same_way():
    assert fly(bowl, 10, 10, 1).costs == fly(bowl, 10, 10, 1).costs != fly(bowl, 10, 10, 2).costs


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, handlers = np.random.get_state()[1].copy(), list(logging.getLogger().handlers)
    fly(bowl, 5, 3, 1)
    assert (np.random.get_state()[1] == state).all()
    assert logging.getLogger().handlers == handlers
    assert not list(tmp_path.iterdir())
