"""Time and memory against stated references, as ratios in one run."""
