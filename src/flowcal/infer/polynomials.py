"""Polynomials on a box: products of Legendre polynomials up to a total degree."""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

__all__ = ["basis", "count_terms"]

Array = NDArray[np.float64]


def count_terms(inputs: int, degree: int) -> int:
    """How many polynomials `basis` has."""
    return comb(inputs + degree, degree)


def basis(u: Array, degree: int) -> Array:
    """Values (..., terms) at points u (..., d) of [0, 1]^d; the constant is the first, then come the linear ones.

    Examples
    --------
    >>> basis(np.array([[0.5, 1.0]]), degree=2).tolist()
    [[1.0, 0.0, 1.0, -0.5, 0.0, 1.0]]
    """
    by_input = np.moveaxis(legvander(2 * u - 1, degree), -2, 0)  # input by point by degree
    columns = []
    for degrees in _degrees(u.shape[-1], degree):
        column = np.ones(u.shape[:-1])
        for place, order in enumerate(degrees):
            if order:
                column = column * by_input[place][..., order]
        columns.append(column)
    return np.stack(columns, axis=-1)


def _degrees(inputs: int, degree: int) -> Iterator[tuple[int, ...]]:
    """Degrees by input of each term, ordered by their sum."""
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(inputs), total):
            yield tuple(chosen.count(place) for place in range(inputs))
