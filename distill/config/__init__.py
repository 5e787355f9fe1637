"""Configs to objects: checked settings, and the only caller of hydra.utils.instantiate."""
