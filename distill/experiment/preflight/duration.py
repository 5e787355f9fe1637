"""About how long a stage will take, reckoned from a few batches."""

from collections.abc import Mapping

from distill.data.batches import Batches


def seconds_an_epoch(
    training: Batches, validation: Batches, batch: float, image: float, loading: float, processes: int, every: int
) -> float:
    """Seconds that an epoch of a stage takes, rough as they are: other work on the machine, compiling, and answers that
    are kept change them.

    Args:
        training, validation: the loaders of one process.
        batch: seconds to train on a full batch.
        image: seconds to validate one image.
        loading: seconds to make a full batch; where images stream from files, workers do so meanwhile.
        processes: that share the work.
        every: so many epochs are validated once.
    """
    each = max(batch, loading / training.workers) if training.workers else batch + loading
    return (len(training) * each + len(validation.split) * image / every) / processes


def in_words(stages: Mapping[str, float]) -> str:
    """The seconds of each stage, and of all: 'roughly 12 min: teacher 5 min, student 7 min'."""
    each = ", ".join(f"{name} {_words(seconds)}" for name, seconds in stages.items())
    return f"roughly {_words(sum(stages.values()))} to train: {each}"


def _words(seconds: float) -> str:
    """To two digits at most, as no more are known: '40 s', '12 min', '3.5 h', '2.1 days'."""
    for size, unit in ((86400 * 2, "days"), (5400, "h"), (90, "min")):
        if seconds >= size:
            count = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.2g} {unit}"
    return f"{max(5, round(seconds / 5) * 5)} s"
