"""What a rehearsal finds."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from distill.log import keep_account

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Findings:
    """What was found: lines to read, what looks wrong, and about how long each stage will take."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def say(self, about: str, text: str) -> None:
        """A line of the account."""
        self.lines.append(f"{about:<9} {text}")

    @rank_zero_only
    def show(self, directory: Path) -> None:
        """Print the account, keep it in the run's directory for its report, and send it and the warnings to the log."""
        keep_account(directory, self.lines)
        for line in self.lines:
            print(line, flush=True)
            log.info(line)
        for warning in self.warnings:
            log.warning(warning)
