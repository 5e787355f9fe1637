"""How a network of a run is shown the data: the size and statistics of images, or tokens as they are."""

from collections.abc import Sequence

from distill.config.settings import DataSettings, NetworkSettings
from distill.data.augment import Augment
from distill.data.source import ImageSource, Source
from distill.errors import SettingError
from distill.models.preprocess import LUMA, Preprocess
from distill.models.preprocessing import Preprocessing

Statistics = tuple[list[float], list[float]]
"""Mean and standard deviation per channel, of images in [0, 1]."""


def preparation(
    where: str,
    own: NetworkSettings,
    header: Preprocessing,
    usual: Preprocessing,
    source: Source,
    statistics: Statistics | None,
) -> tuple[Preprocess, str]:
    """What a network does to its inputs first, and that in words; nothing to inputs that are no images.

    Args:
        where: 'teacher' or 'student'.
        own: its settings, which count first.
        header: what the file of its weights says, which counts next.
        usual: what the configuration of its weights says, which counts before the data.
        source: the data.
        statistics: of its images; None of other data.

    Raises:
        SettingError: statistics for another number of channels than images have, or settings of images for other data.
    """
    if not isinstance(source, ImageSource):
        _check_unset(where, own, source)
        return Preprocess(None, None, None), ""
    assert statistics is not None
    channels = own.channels or usual.channels or (len(usual.mean) if usual.mean else header.channels or source.channels)
    _check_channels(where, channels, source)
    mean, std = adapted(statistics, channels)
    sources = [
        ("its settings", Preprocessing(_tuple(own.mean), _tuple(own.std), own.size)),
        ("the file of its weights", header),
        ("its weights' configuration" if usual.mean else "the only size that it takes", usual),
        ("the data", Preprocessing(tuple(mean), tuple(std))),
    ]
    of_values, values = next((place, known) for place, known in sources if known.mean and known.std)
    of_size, size = next(((place, known.size) for place, known in sources if known.size), ("", None))
    assert values.mean is not None
    assert values.std is not None
    _check_statistics(where, values.mean, values.std, channels)
    shown = None if channels == source.channels else channels
    return Preprocess(values.mean, values.std, size, shown), _described(values, of_values, size, of_size, shown)


def statistics_of(source: Source, settings: DataSettings) -> Statistics | None:
    """Mean and standard deviation of each channel of images, as they are set or found; None of other data.

    Raises:
        SettingError: they are set, and not one for each channel.
    """
    given = {"mean": settings.mean, "std": settings.std}
    if not isinstance(source, ImageSource):
        if settings.mean is not None:
            raise SettingError(f"data.mean={settings.mean}: is for images, and {source.name} has {source.noun}")
        return None
    for name, values in given.items():
        if values is not None and len(values) != source.channels:
            raise SettingError(f"data.{name}={values}: must be a list of {source.channels}, one for each channel")
    return (settings.mean, settings.std) if settings.mean and settings.std else source.statistics()


def check_augment(augment: Augment, source: Source) -> None:
    """Raise SettingError where samples are to be augmented that cannot be."""
    if augment != Augment() and not source.augmentable:
        raise SettingError(f"data.augment: is for images, and {source.name} has {source.noun}; leave it out")


def adapted(statistics: Statistics, channels: int) -> Statistics:
    """The data's statistics for grey images shown as RGB, or RGB shown as grey, whose channels move together."""
    if len(statistics[0]) == channels:
        return statistics
    mean, std = (
        values * channels if len(values) == 1 else [sum(w * v for w, v in zip(LUMA, values, strict=True))] * channels
        for values in statistics
    )
    return mean, std


def _check_unset(where: str, own: NetworkSettings, source: Source) -> None:
    for name in ("mean", "std", "size", "channels"):
        if getattr(own, name) is not None:
            raise SettingError(
                f"{where}.{name}={getattr(own, name)}: is for images, and {source.name} has {source.noun}; leave it out"
            )


def _check_statistics(where: str, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for name, given in (("mean", mean), ("std", std)):
        if len(given) != channels:
            raise SettingError(f"{where}.{name}={list(given)}: must be a list of {channels}, one for each channel")


def _check_channels(where: str, channels: int, source: ImageSource) -> None:
    if channels != source.channels and {channels, source.channels} != {1, 3}:
        raise SettingError(
            f"{where}.channels={channels}: {source.name} has {source.channels}; only grey images "
            "can be shown as RGB (3), and RGB as grey (1)"
        )


def _described(values: Preprocessing, of_values: str, size: int | None, of_size: str, channels: int | None) -> str:
    mean, std = (", ".join(f"{value:.3g}" for value in part or ()) for part in (values.mean, values.std))
    parts = [f"normalised by mean {mean} and std {std} ({of_values})"]
    if channels is not None:
        parts.append("grey images as RGB" if channels == 3 else "RGB images as grey")
    parts.append("at the size that the data has" if size is None else f"at {size} x {size} ({of_size})")
    return ", ".join(parts)


def _tuple(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
