"""The embedded black box: three wind turbines in a row, steered by yaw and spacing.

Textbook wake equations [1]_ [2]_ whose constants were recovered from the challenge's public input/output pairs. With
the wind series given, the outputs agree with the organisers' program to rounding. No method of the study may use these
equations: to all of them a simulator is a black box.

References
----------
.. [1] M. Bastankhah and F. Porte-Agel, "A new analytical model for wind-turbine wakes", Renewable Energy 70, 2014,
   doi:10.1016/j.renene.2014.01.002.
.. [2] A. Jimenez, A. Crespo and E. Migoya, "Application of a LES technique to characterize the wake deflection of a
   wind turbine in yaw", Wind Energy 13(6), 2010, doi:10.1002/we.380.
.. [3] J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11,
   doi:10.1145/2063384.2063405.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from flowcal.challenge import OUTPUTS, RATED_POWER, TIME_STEPS
from flowcal.simulate.simulator import check_runs

__all__ = ["WindFarm"]

Array = NDArray[np.float64]

DIAMETER = 126.0  # m, the unit of all lengths below
LAST_TURBINE = 2000.0 / DIAMETER

# Noise: a stationary first-order autoregression plus white noise.
PHI, INNOVATION_SD, WHITE_SD = 0.8, 0.04, 0.04

# Power against wind speed, linear between whole metres a second.
CURVE_SPEED = np.arange(4.0, 11.0)
CURVE_POWER = np.append(RATED_POWER * ((CURVE_SPEED[:-1] - 4) / 5.8) ** 3, RATED_POWER)
LAG = 0.9

# Nodes of the deflection integral, as fractions of its length, and their trapezoid weights.
NODES = (10 ** (1.1 * np.arange(20) / 19) - 1) / (10**1.1 - 1)
WEIGHTS = np.convolve(np.diff(NODES), [0.5, 0.5])

HOURS_PER_BLOCK = 256  # working arrays of a block stay in the processor's cache


@dataclass(frozen=True)
class WindFarm:
    """The embedded simulator.

    Other values of `lag`, the share that a power keeps of its last value, and of `thrust`, a factor of the rotors'
    thrust, make a wind farm that differs from it.

    Each seed has its own hour of noise: it keys a counter-based generator [3]_. All arithmetic is elementwise or along
    one hour's time, so an hour is bit-identical however many others are simulated in the same call.

    Examples
    --------
    >>> hours = WindFarm().simulate([[0.1, 0.2, 0.3, 0.4, 0.5, 0.533, 0.666, 0.5]], [10])
    >>> hours.shape
    (1, 60, 6)
    """

    lag: float = LAG
    thrust: float = 1.0

    @property
    def identity(self) -> dict[str, str]:
        """Name and version; the version changes whenever an output would."""
        values = {part.name: getattr(self, part.name) for part in fields(WindFarm)}
        own = {part.name: repr(values[part.name]) for part in fields(WindFarm) if values[part.name] != part.default}
        return {"name": "windfarm", "version": "1"} | own

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> Array:
        """Simulate hours (n, 60, 6) at x (n, 8) in [0, 1] with seeds (n,); y1 to y3 in MW, y4 to y6 without a unit."""
        x, seed = check_runs(x, seed)
        y = np.empty((len(x), TIME_STEPS, len(OUTPUTS)))
        for start in range(0, len(x), HOURS_PER_BLOCK):
            block = slice(start, start + HOURS_PER_BLOCK)
            self.respond(x[block], free_wind(x[block], seed[block]), out=y[block])
        return y

    def respond(self, x: Array, wind: Array, out: Array) -> None:
        """Fill `out` (n, 60, 6) with the outputs under a given free wind (n, 60) [m/s]."""
        yaw = _yaw_errors(x)
        for turbine, (speedup, g) in enumerate(zip(_relative_speeds(x, yaw, self.thrust), yaw, strict=True)):
            speed = wind * speedup[:, None]
            target = np.interp(speed * np.cos(g)[:, None], CURVE_SPEED, CURVE_POWER)
            kept = self.lag * target[:, :1]
            out[:, :, turbine], _ = lfilter([1 - self.lag], [1.0, -self.lag], target, zi=kept)
            np.multiply(speed**2, (1 + 3 * np.abs(np.sin(g)))[:, None], out=out[:, :, 3 + turbine])


def free_wind(x: Array, seed: NDArray[np.int64]) -> Array:
    """Undisturbed wind speed U_1 [m/s], shape (n, 60)."""
    return 50 * np.maximum(0, x[:, 0, None] + x[:, 1, None] * turbulence(seed))


def turbulence(seed: NDArray[np.int64]) -> Array:
    """The noise eta that each seed stands for, shape (n, 60)."""
    normals = _standard_normals(seed, 2 * TIME_STEPS)
    innovations = INNOVATION_SD * normals[:, :TIME_STEPS]
    innovations[:, 0] /= np.sqrt(1 - PHI**2)  # the first minute has the stationary spread
    slow: Array = lfilter([1.0], [1.0, -PHI], innovations)
    return slow + WHITE_SD * normals[:, TIME_STEPS:]


def _standard_normals(seed: NDArray[np.int64], count: int) -> Array:
    """`count` standard normals a seed, from the counter-based generator's stream of that key."""
    bits = np.random.Philox(key=0)
    generator = np.random.Generator(bits)
    key = [0, 0]
    start: Any = {
        "bit_generator": "Philox",
        "state": {"counter": (0, 0, 0, 0), "key": key},
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # nothing buffered
        "has_uint32": 0,
        "uinteger": 0,
    }
    normals = np.empty((len(seed), count))
    for row, key[0] in zip(normals, seed.tolist(), strict=True):
        bits.state = start  # far cheaper than a new generator for each seed
        generator.standard_normal(out=row)
    return normals


def _direction_bias(x: Array) -> Array:
    return np.deg2rad(1 - 3 * x[:, 2])


def _yaw_errors(x: Array) -> tuple[Array, Array, Array]:
    """Angle between each rotor's axis and the wind [rad]."""
    bias = _direction_bias(x)
    return np.deg2rad(-30 + 75 * x[:, 5]) + bias, np.deg2rad(-45 + 75 * x[:, 6]) + bias, bias


def _relative_speeds(x: Array, yaw: tuple[Array, Array, Array], factor: float) -> tuple[Array, Array, Array]:
    """Wind speed at each turbine over the free wind, each of shape (n,)."""
    second = (300 + 1000 * x[:, 7]) / DIAMETER
    third = np.full_like(second, LAST_TURBINE)
    at_second = 1 - _deficit(x, second, yaw[0], factor)
    at_third = 1 - _deficit(x, third, yaw[0], factor) - at_second * _deficit(x, third - second, yaw[1], factor)
    return np.ones_like(second), at_second, at_third


def _deficit(x: Array, distance: Array, yaw: Array, factor: float) -> Array:
    """Loss of wind speed [1] `distance` diameters behind a turbine, Gaussian across the wake."""
    bias = _direction_bias(x)
    downstream = distance * np.cos(bias)
    thrust = factor * (8 / 9) * np.cos(yaw) ** 2
    root = np.sqrt(1 - thrust)
    growth = 0.025 + 0.0125 * x[:, 3]
    width = growth * downstream + 0.2 * np.sqrt((1 + root) / (2 * root))
    centre = 1 - np.sqrt(np.clip(1 - thrust / (8 * width**2), 0, 1))
    offset = distance * np.sin(bias) - _deflection(x, downstream, yaw, thrust)
    loss: Array = centre * np.exp(-(offset**2) / (2 * width**2))
    return loss


def _deflection(x: Array, downstream: Array, yaw: Array, thrust: Array) -> Array:
    """Sideways shift of the wake's centre [diameters], by the trapezoid rule along the wake."""
    recovery = 0.085 + 0.04 * x[:, 4]
    initial = thrust * np.cos(yaw) ** 2 * np.sin(yaw) / 2
    slopes = np.tan(initial / (1 + recovery * NODES[:, None] * downstream) ** 2)
    # Added node by node: numpy's own sum over an axis may round otherwise in another batch.
    shift: Array = downstream * sum(weight * slope for weight, slope in zip(WEIGHTS, slopes, strict=True))
    return shift
