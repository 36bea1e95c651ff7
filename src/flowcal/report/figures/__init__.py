"""The study's figures: one function each, from labelled data to a plotly figure."""

from flowcal.report.figures import decide, infer, simulate
from flowcal.report.figures.decide import *  # noqa: F403
from flowcal.report.figures.infer import *  # noqa: F403
from flowcal.report.figures.simulate import *  # noqa: F403
from flowcal.report.figures.style import present

__all__ = ["present"]
__all__ += decide.__all__
__all__ += infer.__all__
__all__ += simulate.__all__
