"""A run from its configuration to its report, and the commands on finished runs."""
