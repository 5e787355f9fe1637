"""What can be known before hours are spent. Errors stop a run with one line; suspicions are warnings."""

from distill.preflight.arithmetic import settle_arithmetic
from distill.preflight.examine import examine
from distill.preflight.layers import show_layers
from distill.preflight.networks import check_network, check_networks

__all__ = ["check_network", "check_networks", "examine", "settle_arithmetic", "show_layers"]
