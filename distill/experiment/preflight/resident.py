"""The resident memory of this process."""

import os
import resource
import sys
from pathlib import Path


def resident() -> int:
    """Bytes in memory now; where the system doesn't say so, the most there have been."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else most_resident()


def most_resident() -> int:
    """Bytes, the most there have been in memory since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
