"""flowcal: the helper package behind the study's chapters.

Four verbs, one folder each: `simulate` the system, `infer` its unknowns, `decide` under them, `report` the results.
"""

from importlib.metadata import version

__version__ = version("flowcal")
