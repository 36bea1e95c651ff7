"""What the whole study takes, where it has been run at the profile `full`."""

import json

import pytest

from flowcal.chapters import Settings, states


def test_the_whole_study_takes_little_beside_a_published_design(record):
    """A chapter that went on from kept artifacts counts with what those took when they were made."""
    settings, minutes = Settings("full"), 0.0
    found = states(settings)
    for name, state in found.items():
        if state.state != "fresh":
            pytest.skip(f"chapter {name!r} has not been run at the profile full; 'make full' runs all")
        manifests = [json.loads(path.read_text()) for path in (settings.folder() / name).glob("*.manifest.json")]
        kept = sum(manifest["wall_time_s"] for manifest in manifests)
        minutes += max(state.execution.wall_time_s, kept) / 60
    record("whole_study", minutes=round(minutes, 1), chapters=len(found))
    assert minutes < 58 * 60
