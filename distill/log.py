"""train.log: our own and Lightning's messages; warnings also reach the terminal."""

import logging
import sys
import warnings
from pathlib import Path

OURS = ("distill", "pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric", "py.warnings")

# Lightning's advice that doesn't apply here (data that lives in memory has no use for workers; short stages log less
# often than they might), and what it does that torch will not allow one day.
BESIDE_THE_POINT = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*exists and is not empty.*",
    ".*isinstance.treespec, LeafSpec.*",
)


def only_warnings() -> None:
    """For commands whose answer is what they print."""
    for name in OURS:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_to(file: Path) -> None:
    """Send messages to `file` from now on, and warnings to the terminal too, a line each."""
    file.parent.mkdir(parents=True, exist_ok=True)
    everything = logging.FileHandler(file)
    everything.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.addFilter(Once())
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in OURS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if name == "distill" else logging.WARNING)
        for old in logger.handlers:  # of the run before, in a sweep
            old.close()
        logger.handlers = [everything, terminal]
        logger.propagate = False
    logging.captureWarnings(True)
    for message in BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message=message)


class Once(logging.Filter):
    """Lets each message through once: networks are built for a look at them first, and warn again when they train."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is new."""
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new
