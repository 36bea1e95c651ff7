"""A black box as data: its inputs and outputs, what is to be maximised, and what must stay below which threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowcal.errors import InputError

__all__ = ["BOUNDS", "SEED_MAX", "Problem"]

BOUNDS = (0.0, 1.0)
"""Smallest and largest value of every input: inputs are standardised."""

SEED_MAX = 2**31 - 1
"""The random seed of a run is an integer in [1, SEED_MAX]."""


@dataclass(frozen=True)
class Problem:
    """What every method has to know of a black box.

    Attributes
    ----------
    aleatory, epistemic, control : tuple of str
        Names of the inputs that vary from series to series (X_a), that are fixed but unknown (X_e), and that a design
        sets (X_c), in the order in which the simulator takes them.
    outputs, units : tuple of str
        Names of the outputs, and a unit for each; "1" where it has none.
    steps : int
        Length of a series.
    maximised : tuple of str
        Outputs whose mean over the series, summed, is the objective J.
    limited : tuple of str
        Outputs whose peaks must stay below their thresholds.
    thresholds : tuple of float
        One for each limited output.
    ceiling : float, optional
        Largest value that a maximised output can take, where there is one.
    """

    aleatory: tuple[str, ...]
    epistemic: tuple[str, ...]
    control: tuple[str, ...]
    outputs: tuple[str, ...]
    units: tuple[str, ...]
    steps: int
    maximised: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    ceiling: float | None = None

    def __post_init__(self) -> None:
        names = (*self.inputs, *self.outputs)
        if len(set(names)) != len(names) or not (self.aleatory and self.outputs and self.steps >= 1):
            raise InputError(
                f"expected distinct names, at least one aleatory input, one output and one step, got {names} and "
                f"{self.steps} steps."
            )
        if len(self.units) != len(self.outputs) or len(self.thresholds) != len(self.limited):
            raise InputError(
                f"expected a unit for each of {len(self.outputs)} outputs and a threshold for each of "
                f"{len(self.limited)} limited ones, got {self.units} and {self.thresholds}."
            )
        if unknown := {*self.maximised, *self.limited} - set(self.outputs):
            raise InputError(f"expected outputs among {', '.join(self.outputs)}, got {', '.join(sorted(unknown))}.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs in the order in which the simulator takes them."""
        return self.aleatory + self.epistemic + self.control

    @property
    def series(self) -> tuple[int, int]:
        """Shape of a series: steps and outputs."""
        return self.steps, len(self.outputs)

    def columns(self, outputs: Sequence[str]) -> list[int]:
        """Positions of outputs in a series."""
        return [self.outputs.index(name) for name in outputs]
