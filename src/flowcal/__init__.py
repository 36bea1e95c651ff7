"""Model updating and design under uncertainty, as a reproducible study."""

from importlib.metadata import version

__version__ = version("flowcal")
