"""Versions of installed packages."""

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str:
    """The version of a package; "not installed" also of a checkout that is run without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
