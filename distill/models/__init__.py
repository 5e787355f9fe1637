"""Networks, and what wraps them."""
