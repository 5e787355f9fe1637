"""Detectors: networks whose raw outputs are read as boxes, and which learn these by losses of their own."""
