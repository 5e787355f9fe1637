"""Train a small student network to imitate a large teacher."""
