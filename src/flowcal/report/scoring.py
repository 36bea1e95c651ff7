"""Results held against the known truth of the embedded real system: the one module that looks at it."""

import json
import math
from pathlib import Path

from flowcal.challenge import EPISTEMIC, PUBLISHED, PublishedEntry
from flowcal.simulate.real_system import _TRUE_X_E

__all__ = ["score_box", "write_scores"]


def write_scores(path: Path) -> dict[str, dict]:
    """Score every published entry against the truth, and keep the result as JSON.

    Parameters
    ----------
    path : Path
        Where to keep it.

    Returns
    -------
    dict
        By team, what `score_box` returns.
    """
    scores = {team: score_box(entry) for team, entry in PUBLISHED.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def score_box(entry: PublishedEntry) -> dict:
    """Hold a published box for X_e against X_e*.

    Returns
    -------
    dict
        'contains': whether the box holds X_e*; 'missed_by': by input, how far X_e* lies outside, 0 if inside; 'volume':
        of the box, the unit cube being 1; 'best_guess_distance': of the best guess from X_e*, None where not published.
    """
    truth = dict(zip(EPISTEMIC, _TRUE_X_E, strict=True))
    missed = {name: max(low - truth[name], 0, truth[name] - high) for name, (low, high) in entry.x_e_intervals.items()}
    return {
        "contains": not any(missed.values()),
        "missed_by": {name: round(distance, 6) for name, distance in missed.items()},
        "volume": math.prod(high - low for low, high in entry.x_e_intervals.values()),
        "best_guess_distance": math.dist(entry.x_e_best, _TRUE_X_E) if entry.x_e_best else None,
    }
