"""What can be known before hours are spent. Errors stop a run with one line; suspicions are warnings."""

from distill.experiment.preflight.arithmetic import settle_arithmetic
from distill.experiment.preflight.examine import examine, print_tapped_layers
from distill.experiment.preflight.layers import show_layers
from distill.experiment.preflight.networks import check_network, check_networks, spare

__all__ = [
    "check_network",
    "check_networks",
    "examine",
    "print_tapped_layers",
    "settle_arithmetic",
    "show_layers",
    "spare",
]
