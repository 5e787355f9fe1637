"""train.log: our own and Lightning's messages; warnings also reach the terminal and, our own, the report."""

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from distill.files import FULL, write_text

OURS = ("distill", "pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric", "py.warnings")

ACCOUNT = "preflight.txt"  # what preflight said of the run, a line each
WARNINGS = "warnings.txt"  # beside train.log: a run's own warnings, a line each; no file where there are none

# Lightning's advice that doesn't apply here (data that lives in memory has no use for workers; short stages log less
# often than they might; what is in evaluation mode is frozen on purpose; a run that was moved goes on from its last
# checkpoint, the only one; what is logged of several processes is their sum already), and what torch will not allow one
# day (a switch that has another name in newer ones).
BESIDE_THE_POINT = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*in eval mode at the start of training.*",
    ".*exists and is not empty.*",
    ".*The dirpath has changed from.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*sync_dist=True.*when logging on epoch level.*",
    ".*broadcast_buffers. is deprecated.*",
)


def only_warnings() -> None:
    """For commands whose answer is what they print."""
    for name in OURS:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_to(file: Path) -> None:
    """Send messages to `file` from now on, and warnings to the terminal too, a line each.

    Our own warnings are kept beside `file` too, for the end of the run: see `warnings_of`. So a `log.warning` is all
    that it takes for something to stand in the final table and in the report.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    everything = LogFile(file)
    everything.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.addFilter(Once())
    terminal.setFormatter(OneLine("%(levelname)s: %(message)s"))
    kept = LogFile(file.with_name(WARNINGS), delay=True)
    kept.setLevel(logging.WARNING)
    kept.addFilter(logging.Filter("distill"))
    kept.setFormatter(OneLine())
    for name in OURS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if name == "distill" else logging.WARNING)
        for old in logger.handlers:  # of the run before, in a sweep
            old.close()
        logger.handlers = [everything, terminal, kept]
        logger.propagate = False
    logging.captureWarnings(True)
    for message in BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message=message)


def warnings_of(directory: Path) -> list[str]:
    """What the run in `directory` warned of, in order, each once, whichever process or attempt said it."""
    file = directory / WARNINGS
    return list(dict.fromkeys(file.read_text().splitlines())) if file.is_file() else []


def keep_account(directory: Path, lines: Sequence[str]) -> None:
    """Keep what preflight says of the run in `directory`, for its report: layers, images, time, memory."""
    write_text(directory / ACCOUNT, "".join(f"{line}\n" for line in lines))


def account_of(directory: Path) -> list[str]:
    """What preflight said of the run in `directory`; empty where there was none."""
    file = directory / ACCOUNT
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def forget_what_was_said(directory: Path) -> None:
    """A new run begins in `directory`: warnings and account of one before it there are not its own."""
    for name in (WARNINGS, ACCOUNT):
        (directory / name).unlink(missing_ok=True)


class LogFile(logging.FileHandler):
    """A file of messages. What a full disk has no room for is left out, without a word."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over a full disk."""
        error = sys.exc_info()[1]
        if not (isinstance(error, OSError) and error.errno in FULL):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, whether or not the rest of it has room."""
        with suppress(OSError):
            super().close()


class OneLine(logging.Formatter):
    """What a message says, on one line: warnings of libraries have line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """Without a traceback."""
        record.message = record.getMessage()
        return " ".join(self.formatMessage(record).split())


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
