"""Which settings change what is computed: of the whole run, and of the student that is trained without a teacher."""

from collections.abc import Mapping
from typing import Any

STARTED_IN = "working_directory"
PROCESSES = "processes"
ABOUT_THE_RUN = (STARTED_IN, PROCESSES)
"""What config.yaml says of a run beside its settings: where it was started, and in how many processes it trains."""

NO_EFFECT = {
    "preflight": "looks at the run",
    "show": "looks at the networks",
    "profile": "measures times",
    "logger": "where values are logged",
    "checkpoint": "how often a run writes what it goes on from",
    "trainer.progress": "what the terminal shows",
    "trainer.log_every_n_steps": "how often values are logged",
    "data.workers": "how many processes decode images; an image depends on seed, epoch and index alone",
    "data.timeout": "when a process that waits for its data ends the run",
    "data.in_memory": "where images are kept",
}
"""Settings that change nothing of what is trained, and why."""
MAY_CHANGE = {
    **NO_EFFECT,
    "trainer.accelerator": "which kind of device computes",
    "trainer.devices": "which devices; another number of processes is refused, for each adds to the batch",
    "trainer.num_nodes": "over how many machines the processes are spread; as trainer.devices",
    "teaching.max_gb": "how much disk kept answers may take",
}
"""Settings that a resumed run takes from the command, beside where files lie, and why. All others are the run's."""
OF_NO_EFFECT = ("defaults", *ABOUT_THE_RUN, "resume", *NO_EFFECT)
OF_THE_TEACHING = ("baseline", "method", "teaching", "chain", "generations", "teacher", "on_policy")
"""What a student alone knows nothing of. What is not named here, it depends on."""
OF_THE_STUDENT = (
    "baseline", "method", "teaching", "chain", "generations", "student", "data.student_fraction",
    "data.student_without", "data.unlabeled", "on_policy",
)  # fmt: skip
"""What a teacher that is trained first knows nothing of."""
BUT = ("teaching.epochs",)  # after how many epochs images come again, for the baseline too


def alone(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings by their dotted paths, those that count for the student without a teacher.

    Runs that agree in them share a baseline.
    """
    free = (*OF_THE_TEACHING, *OF_NO_EFFECT)
    return {path: value for path, value in settings.items() if path in BUT or not under(path, free)}


def of_the_teacher(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As `alone`, those that count for a teacher that is trained first."""
    free = (*OF_THE_STUDENT, *OF_NO_EFFECT)
    return {path: value for path, value in settings.items() if not under(path, free)}


def under(path: str, places: tuple[str, ...]) -> bool:
    """Whether a setting is one of these places or below one."""
    return any(path == place or path.startswith(f"{place}.") for place in places)
