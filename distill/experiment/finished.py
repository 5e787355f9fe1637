"""A run that is over: what it keeps of its networks beside their weights, and the networks built again from that.

Its directory alone is needed: neither its data, nor the teacher's checkpoint, nor the working directory of then.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from distill.config.instantiate import instantiate
from distill.config.nodes import Node, node
from distill.config.overrides import is_path
from distill.config.settings import DataSettings, TrainerSettings
from distill.config.trust import check_trusted, names
from distill.data.image_format import ImageFormat
from distill.data.source import Source
from distill.data.token_format import TokenFormat
from distill.data.token_source import TokenSource
from distill.errors import SettingError
from distill.experiment.directory import check_finished, find_own_code, load_config
from distill.files import write_text
from distill.models.checkpoint import load_weights
from distill.models.network import Network
from distill.tasks import Task
from distill.tasks.evaluation import Values

log = logging.getLogger(__name__)

NETWORKS = ("teacher", "baseline", "student")
TOKENIZER = "tokenizer"


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """What RUN/student.json holds, and teacher.json and baseline.json.

    name: of the network, for tables.
    network: what its layers are built of, a node with a `_target_`.
    weights: the file with them, from the run's directory; None where building the layers brings them.
    preprocessing: how the network prepares images in [0, 1] for itself, and which outputs are classes: arguments of
        `Network`.
    data: name of the data that it was trained on.
    format: what its samples are: images of a size, or tokens. In the file under `images` or `tokens`.
    classes: their names, in the order of the logits.
    scores: on the validation split, in float32.
    task: a node with a `_target_`: what its data's labels are.
    """

    name: str
    network: dict[str, Any]
    weights: str | None
    preprocessing: dict[str, Any]
    data: str
    format: ImageFormat | TokenFormat
    classes: list[str]
    scores: dict[str, float | None]
    task: dict[str, Any] = field(default_factory=lambda: {"_target_": "distill.tasks.Classification"})

    @property
    def images(self) -> ImageFormat:
        """What its images are.

        Raises:
            SettingError: it was not trained on images.
        """
        if not isinstance(self.format, ImageFormat):
            raise SettingError(f"run: was trained on {self.format.kind} of {self.data}, and images are needed here")
        return self.format

    def content(self) -> dict[str, Any]:
        """As JSON takes it."""
        content = dataclasses.asdict(self)
        form = content.pop("format")
        return {**content, self.format.kind: form}


def check_kept(network: Network) -> None:
    """Raise SettingError if a network could not be built again from what is kept of it."""
    if network.origin is None:
        raise SettingError(
            f"{network.name}: the method deploys a {type(network.backbone).__name__}, which has no `recipe` to build "
            "it of again; give it one, as Method.deploy says"
        )


def keep_networks(
    directory: Path,
    networks: Mapping[str, Network],
    source: Source,
    scores: Mapping[str, Values],
    checkpoint: str | None,
) -> None:
    """Write RUN/NAME.json for each network of a run that has just been scored, and the tokenizer of its texts.

    Args:
        directory: of the run; holds the weights of those that were trained.
        networks: by their names in `NETWORKS`.
        source: the data.
        scores: by the same names.
        checkpoint: of a teacher that wasn't trained.
    """
    form = _kept_format(directory, source)
    for name, network in networks.items():
        assert network.origin is not None  # see check_kept
        trained_here = (directory / f"{name}.safetensors").is_file()
        built_of = network.origin.untrained if trained_here or checkpoint else network.origin.pretrained
        record = NetworkRecord(
            name=network.name,
            network=_from_anywhere("", built_of),
            weights=f"{name}.safetensors" if trained_here else checkpoint and str(Path(checkpoint).absolute()),
            preprocessing=network.settings(),
            data=source.name,
            format=form,
            classes=list(source.class_names),
            scores=scores[name],
            task={
                "_target_": f"{type(source.task).__module__}.{type(source.task).__qualname__}",
                **source.task.settings(),
            },
        )
        write_text(directory / f"{name}.json", json.dumps(record.content(), indent=2) + "\n")


def _kept_format(directory: Path, source: Source) -> ImageFormat | TokenFormat:
    """What samples are; the tokenizer of texts, unless it is made in place, lies in the run's directory from now on."""
    if not isinstance(source, TokenSource) or not source.format.tokenizer:
        return source.format
    source.tokenizer.save_pretrained(directory / TOKENIZER)
    return dataclasses.replace(source.format, tokenizer=TOKENIZER, gguf_file=None)


def _from_anywhere(key: str, value: Any) -> Any:
    """A setting; where it is a path, or names a file among the arguments of a builder, found from any directory."""
    if isinstance(value, dict):
        return {name: _from_anywhere(name, inner) for name, inner in value.items()}
    if isinstance(value, str) and (is_path(key) or _names_a_file(value)):
        return str(Path(value).absolute())
    return value


def _names_a_file(text: str) -> bool:
    """Whether it is the path of a file, or of a folder below another, rather than a name."""
    path = Path(text)
    return (path.is_file() and path.suffix != "") or (path.is_dir() and len(path.parts) > 1)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What the directory of a run says.

    data, trainer: its settings of these.
    records: of 'student', 'teacher' and, where it was trained, 'baseline'.
    trusted: packages whose code its files may name beside the known ones.
    """

    directory: Path
    data: Node[DataSettings]
    trainer: Node[TrainerSettings]
    records: dict[str, NetworkRecord]
    trusted: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """What it was trained in."""
        return str(self.trainer.own.precision or "32-true")

    @property
    def tf32(self) -> bool:
        """Whether it let GPUs round to TF32."""
        return self.trainer.own.tf32

    @property
    def student(self) -> NetworkRecord:
        """What is kept of the student."""
        return self.records["student"]

    @property
    def task(self) -> Task:
        """What the labels of its data are."""
        self._check(self.student.task, "task")
        return instantiate(OmegaConf.create(self.student.task), "task", Task)  # type: ignore[type-abstract]

    def network(self, name: str) -> Network:
        """Build a network again, with its weights.

        Raises:
            SettingError: its code or a file of it isn't there any more, or is damaged.
        """
        record = self.records[name]
        self._check(record.network, name)
        try:
            backbone = instantiate(OmegaConf.create(record.network), name, nn.Module)
            if record.weights is not None:
                load_weights(backbone, self.directory / record.weights)
        except SettingError as error:
            raise SettingError(
                f"run={self.directory}: its {name} cannot be built here: {error}. What was exported to pt2 or onnx "
                "where it can be built needs none of this"
            ) from error
        return Network(backbone, name=record.name, trained=True, **record.preprocessing)

    @property
    def own_data(self) -> DictConfig:
        """What its data is built from."""
        self._check(OmegaConf.to_container(self.data.target), "data")
        return self.data.target

    def _check(self, settings: Any, place: str) -> None:
        if check_trusted(settings, place, f"run={self.directory}", self.trusted):
            find_own_code(self.directory, "run")

    def networks(self) -> dict[str, Network]:
        """All of them; a teacher that can't be built any more is left out, and said."""
        networks = {name: self.network(name) for name in self.records if name != "teacher"}
        if "teacher" not in self.records:
            return networks
        try:
            return {"teacher": self.network("teacher"), **networks}
        except SettingError as error:
            log.warning("the teacher is left out: %s", error.__cause__ or error)
            return networks


def load_run(directory: Path, trust: Any = ()) -> FinishedRun:
    """What a run's directory says of it.

    Args:
        directory: of the run.
        trust: the setting of this name.

    Raises:
        SettingError: it has not finished, a file of it is missing or damaged, or names code that is not trusted.
    """
    check_finished(directory)
    config = load_config(directory, "run")
    records = {name: _read(file) for name in NETWORKS if (file := directory / f"{name}.json").is_file()}
    for part in ("data", "trainer"):
        if not isinstance(config.get(part), DictConfig):
            raise SettingError(f"run={directory}: its config.yaml has no settings of {part}")
    data, trainer = node(config.data, "data", DataSettings), node(config.trainer, "trainer", TrainerSettings)
    return FinishedRun(directory, data, trainer, records, names(trust))


def _read(file: Path) -> NetworkRecord:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kind = next(kind for kind in (ImageFormat, TokenFormat) if kind.kind in content)
        form = kind(**content.pop(kind.kind))
        if isinstance(form, TokenFormat) and form.tokenizer:
            form = dataclasses.replace(form, tokenizer=str(file.parent / form.tokenizer))
        record = NetworkRecord(format=form, **content)
        _check_place(file, record)
        return record
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise SettingError(f"{file}: is damaged ({error}); write it again with resume={file.parent}") from None


def _check_place(file: Path, record: NetworkRecord) -> None:
    """Raise SettingError for weights out of the run's directory, where those of a teacher that wasn't trained lie."""
    weights = record.weights
    if weights is not None and Path(weights).name != weights and file.stem != "teacher":
        raise SettingError(f"{file}: weights={weights}: must be a file in the run's directory")
