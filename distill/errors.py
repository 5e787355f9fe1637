"""The one exception for a user's mistake: printed as a single line, without a traceback."""

import difflib
from collections.abc import Iterable


class SettingError(ValueError):
    """A setting that cannot work. The message names the setting, its value, and what would work."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' where a known name is close, else the list of known names, for the end of a message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known) or 'none'}"
