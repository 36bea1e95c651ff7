"""How far one sample's distribution is from another's.

References
----------
.. [1] G. J. Székely and M. L. Rizzo, "Energy statistics: A class of statistics based on distances", Journal of
   Statistical Planning and Inference 143, 2013, doi:10.1016/j.jspi.2013.03.018.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist, pdist

__all__ = ["energy_distance"]


def energy_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Energy distance [1]_ between the distributions behind two samples; about 0 where they agree.

    The squared distance ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, with pairs of one draw with itself left out, so that it
    is unbiased and may come out below 0.

    Parameters
    ----------
    first : array_like, shape (n, d)
    second : array_like, shape (m, d)

    Returns
    -------
    float

    Examples
    --------
    >>> energy_distance([[0.0], [1.0]], [[2.0], [3.0]])
    2.0
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(2 * cdist(first, second).mean() - pdist(first).mean() - pdist(second).mean())
