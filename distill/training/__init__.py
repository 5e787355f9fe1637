"""The training step and what a trainer needs around it: devices, precision, compilation, callbacks."""
