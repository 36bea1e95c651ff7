"""Black boxes made worse: one whose values are noisy, and one whose outputs are off by fixed factors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError
from flowcal.problem import Problem, check_range
from flowcal.simulate.simulator import Simulator, check_runs, problem_of

__all__ = ["NoisyBox", "Perturbed"]

Array = NDArray[np.float64]

STREAM = 1  # of the generator of a seed; wind has stream 0


@dataclass(frozen=True)
class NoisyBox:
    """A simulator whose every value has an independent relative error with standard deviation `sd`.

    Noise may lift an output above its ceiling, so that the problem has none.
    """

    simulator: Simulator
    sd: float

    def __post_init__(self) -> None:
        check_range(0, 0.2, "[]", sd=self.sd)  # more would make values negative

    @property
    def problem(self) -> Problem:
        """That of the simulator, without a ceiling."""
        return replace(problem_of(self.simulator), ceiling=None)

    @property
    def identity(self) -> dict[str, str]:
        """That of the simulator, and the noise."""
        return {f"noisy {name}": value for name, value in self.simulator.identity.items()} | {"sd": repr(self.sd)}

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> Array:
        """Series (n, steps, outputs) at x (n, inputs) in [0, 1] with seeds (n,)."""
        x, seed = check_runs(x, seed, self.problem)
        y = self.simulator.simulate(x, seed)
        for hour, number in zip(y, seed.tolist(), strict=True):
            generator = np.random.Generator(np.random.Philox(key=[number, STREAM]))
            hour *= np.maximum(0, 1 + self.sd * generator.standard_normal(hour.shape))
        return y


@dataclass(frozen=True)
class Perturbed:
    """A simulator whose outputs are too large by relative errors `gain`, one for each; ceilings hold all the same."""

    simulator: Simulator
    gain: Sequence[float]

    def __post_init__(self) -> None:
        outputs = problem_of(self.simulator).outputs
        if len(self.gain) != len(outputs):
            raise InputError(f"gain has {len(self.gain)} values; expected one for each of {len(outputs)} outputs.")
        check_range(-1, 1, **{f"the gain of {name}": value for name, value in zip(outputs, self.gain, strict=True)})

    @property
    def problem(self) -> Problem:
        """That of the simulator."""
        return problem_of(self.simulator)

    @property
    def identity(self) -> dict[str, str]:
        """That of the simulator, and the gains."""
        gain = ", ".join(map(repr, self.gain))
        return {f"perturbed {name}": value for name, value in self.simulator.identity.items()} | {"gain": gain}

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> Array:
        """Series (n, steps, outputs) at x (n, inputs) in [0, 1] with seeds (n,)."""
        y: Array = self.simulator.simulate(x, seed) * (1 + np.asarray(self.gain))
        if self.problem.ceiling is not None:
            maximised = self.problem.columns(self.problem.maximised)
            y[..., maximised] = np.minimum(y[..., maximised], self.problem.ceiling)
        return y
