"""The keywords that all divergences share, and their checks."""

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor

from distill.losses.engine import TeacherForm, working_dtype

Reduction = Literal["none", "sum", "mean", "batchmean", "positionmean"]
REDUCTIONS, FORMS = get_args(Reduction), get_args(TeacherForm)


class Options(TypedDict, total=False):
    """Keywords that every divergence takes; `kl_divergence` says what they mean."""

    temperature: float | Tensor
    reduction: Reduction
    teacher_is: TeacherForm
    temperature_squared: bool
    class_dim: int
    mask: Tensor | None
    labels: Tensor | None
    ignore_index: int
    weights: Tensor | None
    validate: bool


@dataclass(slots=True)
class Arguments:
    """The shared keywords, checked, with their defaults. Errors: ValueError and TypeError that name the argument."""

    student: Tensor
    teacher: Tensor
    temperature: float | Tensor = 1.0
    reduction: Reduction = "batchmean"
    teacher_is: TeacherForm = "logits"
    temperature_squared: bool = True
    class_dim: int = 1
    mask: Tensor | None = None
    labels: Tensor | None = None
    ignore_index: int = -100
    weights: Tensor | None = None
    validate: bool = False

    def __post_init__(self) -> None:
        check_logits("student_logits", self.student)
        check_logits("teacher", self.teacher)
        if self.student.shape != self.teacher.shape:
            raise ValueError(
                f"student_logits has shape {tuple(self.student.shape)} and teacher {tuple(self.teacher.shape)}; "
                "they must be the same, the number of classes included"
            )
        dims = self.student.dim()
        if dims < 2 or not -dims <= self.class_dim < dims:
            raise ValueError(
                f"class_dim={self.class_dim} does not name the classes of shape {tuple(self.student.shape)}: expected "
                "(N, C), (N, C, *positions), or another order with class_dim pointing at C"
            )
        check_choice("reduction", self.reduction, REDUCTIONS)
        check_choice("teacher_is", self.teacher_is, FORMS)
        self.class_dim %= dims
        self.temperature = check_temperature(self.temperature, validate=self.validate)
        if self.validate:
            self._check_values()

    @property
    def positions(self) -> torch.Size:
        """The shape of the input without its classes."""
        shape = list(self.student.shape)
        del shape[self.class_dim]
        return torch.Size(shape)

    def per_position(self, name: str, x: Tensor) -> Tensor:
        """A tensor with one value per position, or one per sample, shaped as the engine's rows with one class."""
        positions = self.positions
        if x.shape != positions:
            if x.shape != positions[:1]:
                raise ValueError(
                    f"{name} has shape {tuple(x.shape)}; expected one value per position {tuple(positions)} or one per "
                    f"sample {tuple(positions[:1])}"
                )
            x = x.view(-1, *(1,) * (len(positions) - 1)).expand(positions)
        x = x.to(self.student.device)
        return (x.reshape(positions[0], positions[1:].numel()) if len(positions) > 2 else x).unsqueeze(-1)

    def kept(self) -> Tensor | None:
        """Which rows count, as bool rows with one class; None for all."""
        keep = None
        if self.mask is not None:
            if self.mask.dtype != torch.bool:
                raise TypeError(f"mask has dtype {self.mask.dtype}; expected torch.bool, True where a position counts")
            keep = self.per_position("mask", self.mask)
        if self.labels is not None:
            labelled = self.per_position("labels", self.labels != self.ignore_index)
            keep = labelled if keep is None else keep & labelled
        return keep

    def _check_values(self) -> None:
        if self.weights is not None and bool((self.weights < 0).any()):
            raise ValueError(f"weights holds {self.weights.min().item():g}; expected values >= 0")
        if self.teacher_is == "logits":
            return
        p = self.teacher.detach().to(working_dtype(self.teacher)).movedim(self.class_dim, -1)
        p = p.exp() if self.teacher_is == "log_probabilities" else p
        keep = self.kept()
        off = (p.sum(-1) - 1).abs().masked_fill(p.amin(-1) < 0, float("inf"))
        if keep is not None:
            off = off.masked_fill(~keep.view_as(off), 0)
        # a class rounded to half precision is off by up to eps of itself, so their sum by up to eps
        tolerance = max(1e-4, 2 * torch.finfo(self.teacher.dtype).eps)
        if not bool((off <= tolerance).all()):
            raise ValueError(
                f"teacher does not hold {self.teacher_is} along class_dim={self.class_dim}: a position is negative or "
                f"its sum is off by {off.max().item():.3g} from 1; for raw network outputs use teacher_is='logits'"
            )


def check_logits(name: str, x: Tensor) -> None:
    """TypeError unless x is a floating point tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; expected a floating point torch.Tensor")
    if not x.is_floating_point():
        raise TypeError(f"{name} has dtype {x.dtype}; expected a floating point dtype, e.g. {name}.float()")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ValueError unless value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; expected one of {', '.join(map(repr, choices))}")


def check_temperature(temperature: object, *, validate: bool) -> float | Tensor:
    """The temperature as float or floating point tensor; > 0. Tensors off the CPU are looked at only if asked."""
    if not isinstance(temperature, Tensor):
        if not isinstance(temperature, float) and (isinstance(temperature, bool) or not isinstance(temperature, int)):
            raise TypeError(f"temperature is a {type(temperature).__name__}; expected a number or a tensor > 0")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature={temperature} must be a finite number > 0, for example 4.0")
        return float(temperature)
    if not temperature.is_floating_point():
        raise TypeError(f"temperature has dtype {temperature.dtype}; expected a floating point tensor")
    looked_at = validate or (temperature.device.type == "cpu" and not torch.compiler.is_compiling())
    if looked_at and not bool((temperature > 0).all()):
        raise ValueError(f"temperature holds {temperature.min().item():g}; expected values > 0")
    return temperature


def check_open_interval(name: str, value: float, instead: str) -> None:
    """ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}={value} must be between 0 and 1, both excluded; {instead}")
