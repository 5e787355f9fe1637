"""Measurements of time and memory against stated references, as ratios from one run."""
