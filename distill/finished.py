"""A run that is over: its networks as they were trained, from its directory."""

from dataclasses import dataclass
from pathlib import Path

from distill import build
from distill.checkpoint import load_weights
from distill.directory import load_config
from distill.errors import SettingError
from distill.methods import Method, Supervised
from distill.models.network import Network
from distill.pipeline import Run, prepare
from distill.teachers import Teacher


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What its directory says.

    run: its settings and data.
    networks: 'teacher', 'student' and, where it was trained, 'baseline', with their weights.
    """

    run: Run
    networks: dict[str, Network]


def load_run(directory: Path) -> FinishedRun:
    """Build a run's networks again and fill in what they learnt.

    Raises:
        SettingError: it has not finished, or a file of it is missing or damaged.
    """
    config = load_config(directory, "run")
    if not (directory / "student.safetensors").is_file():
        raise SettingError(f"run={directory}: not finished; go on with `python train.py resume={directory}`")
    run = prepare(config, directory)
    teacher = run.network("teacher")
    if not teacher.trained:
        load_weights(teacher.backbone, directory / "teacher.safetensors")
    networks = {"teacher": teacher}
    if config.baseline:
        networks["baseline"] = _deployed(run, "baseline", None, Supervised())
    answering = teacher
    for name in (*run.assistants, "student"):
        method = build.method(config.method)
        taught_by = run.teacher(answering) if method.needs_teacher else None
        answering = _deployed(run, name, taught_by, method)
    return FinishedRun(run, networks | {"student": answering})


def _deployed(run: Run, stage: str, teacher: Teacher | None, method: Method) -> Network:
    role = "student" if stage == "baseline" else stage
    network = run.stage(stage).module(run.network(role), teacher, method).deployed
    load_weights(network.backbone, run.stage(stage).weights)
    return network
