"""Simulate: the black box, campaigns of runs on it, what the real system showed, and which inputs matter."""
