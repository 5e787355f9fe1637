"""Preprocessing from an image file to a network's input: as data for exports, and in words."""

from typing import Any

from distill.experiment.finished import NetworkRecord

WRITTEN_BY = "distill-export"
COLOURS = {1: "grey", 3: "RGB"}


def input_steps(record: NetworkRecord) -> dict[str, Any]:
    """What preprocess.json holds, as JSON takes it. The steps stand in the order in which they are taken."""
    images, own = record.images, record.preprocessing
    channels, height, width = images.shape
    shown = own["channels"] or channels
    mean, std = (
        [default] * shown if own[name] is None else own[name] for name, default in (("mean", 0.0), ("std", 1.0))
    )
    return {
        "written_by": WRITTEN_BY,
        "name": record.name,
        "trained_on": "files" if images.resize else f"arrays of shape (N, {height}, {width}, {channels}), uint8",
        "orientation": "as EXIF says",
        "bits": 8,
        "transparency": "on white",
        "colour": COLOURS.get(channels, f"{channels} channels"),
        "channels": channels,
        "resize": {"shorter_side": images.resize or min(height, width), "interpolation": "bilinear", "antialias": True},
        "crop": {"position": "centre", "height": height, "width": width},
        "divide_by": 255,
        "layout": "(N, C, H, W), float32",
        "the_rest_is_inside": ["onnx", "pt2"],
        "shown_as": COLOURS.get(shown, f"{shown} channels"),
        "size": own["size"] or height,
        "mean": mean,
        "std": std,
        "classes": record.classes,
    }


def in_words(way: dict[str, Any], *, inside: bool) -> list[str]:
    """The steps of `input_steps` in words, a line each; `inside`: whether the network's file does the last ones."""
    height, width, size = way["crop"]["height"], way["crop"]["width"], way["size"]
    before = f"scaled to {size} x {size} (bilinear, antialiased), " if size != height else ""
    before = f"shown as {way['shown_as']}, {before}" if way["shown_as"] != way["colour"] else before
    where = "inside the file" if inside else "not inside the file"
    lines = [
        f"from a file: turned as EXIF says, transparency on white, 8 bits, {way['colour']}; shorter side scaled to "
        f"{way['resize']['shorter_side']} (bilinear, antialiased); middle {height} x {width} cut out; divided by 255",
        f"then, {where}: {before}normalised by mean {way['mean']} and standard deviation {way['std']}",
    ]
    if way["trained_on"] != "files":
        lines.insert(1, f"from arrays, as it was trained on ({way['trained_on'][10:]}): divided by 255")
    return lines
