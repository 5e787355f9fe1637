"""Lists the layers that a run's methods tap, paired between student and teacher."""

from collections.abc import Mapping

from torch import Tensor

from distill.errors import SettingError
from distill.experiment.run import Run
from distill.inputs import Inputs, first_tensor, inputs_to
from distill.methods import Composite, Method, Supervised
from distill.models import taps
from distill.models.layers import list_layers
from distill.models.network import INPUT, Network
from distill.teachers import Teacher


def check_taps(run: Run, student: Network, teacher: Teacher | None, method: Method) -> None:
    """Find the layers that each method names, so that a wrong name is answered with its setting."""
    for name, member in members_of(run, method).items():
        for setting, patterns, tapped in (
            ("student_layers", member.taps.student, student),
            ("teacher_layers", member.taps.teacher, teacher),
        ):
            if tapped is None:
                continue
            paths = [pattern for pattern in patterns if not taps.is_word(pattern)]
            try:
                tapped.tap(paths)
            except SettingError as error:
                raise SettingError(
                    f"method.{name}.{setting}=[{','.join(patterns)}]: {error} (show=layers lists them)"
                ) from error


def tapped_lines(methods: Mapping[str, Method], student: Network, teacher: Network | None, inputs: Inputs) -> list[str]:
    """A line for each method that taps layers: 'at: layer1 16 x 8 x 8 <-> layer2 64 x 16 x 16, ...'.

    Args:
        methods: by their names in the configuration, with the names of layers in `taps`.
        student, teacher: whose layers they are; None where no live network teaches.
        inputs: a few of the data, shown to both once.
    """
    if not any(method.taps.student or method.taps.teacher for method in methods.values()):
        return []
    ours, theirs = (_shapes(network, inputs) for network in (student, teacher))
    lines = []
    for name, method in methods.items():
        left = [_described(path, ours) for path in method.taps.student]
        right = [_described(path, theirs) for path in method.taps.teacher]
        if left and len(left) == len(right):
            pairs = [f"{one} <-> {other}" for one, other in zip(left, right, strict=True)]
            lines.append(f"{name}: {', '.join(pairs)}")
        elif left or right:
            lines.append(f"{name}: student {', '.join(left) or 'none'}; teacher {', '.join(right) or 'none'}")
    return lines


def _shapes(network: Network | None, inputs: Inputs) -> dict[str, str]:
    if network is None:
        return {}
    first = first_tensor(inputs)
    weight = next(network.parameters(), first)  # the rehearsal may have left the network in half precision, elsewhere
    network.preprocess.to(weight.device)
    shown = inputs.to(weight.dtype) if isinstance(inputs, Tensor) else inputs
    prepared = network.prepared(inputs_to(shown, weight.device))
    prepared = prepared.to(weight.dtype) if isinstance(prepared, Tensor) else prepared
    layers = list_layers(network.backbone, prepared)
    return {layer.path: " x ".join(map(str, layer.shape)) for layer in layers}


def _described(path: str, shapes: Mapping[str, str]) -> str:
    if path.endswith(INPUT):
        return f"what goes into {path.removesuffix(INPUT)}"
    return f"{path} {shapes[path]}" if path in shapes else path


def members_of(run: Run, method: Method) -> dict[str, Method]:
    """The methods by their names in the configuration; none of a stage that has no teacher."""
    if isinstance(method, Supervised):
        return {}
    members = method.members if isinstance(method, Composite) else [method]
    return dict(zip(map(str, run.config.method), members, strict=True))
