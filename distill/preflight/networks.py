"""Do both networks take the data, and answer for its classes?"""

from typing import TYPE_CHECKING

import torch

from distill.data import ImageSource
from distill.data.augment.color import to_float
from distill.errors import SettingError
from distill.models.network import Network
from distill.types import Outputs

if TYPE_CHECKING:
    from distill.pipeline import Run


def check_networks(run: "Run") -> dict[str, Network]:
    """Build the 'teacher', the 'student' and the assistants anew, and check each; they are the caller's to spoil.

    Raises:
        SettingError: one cannot be built, cannot take the data's images, or answers for other classes.
    """
    networks = {}
    for role in ("teacher", *run.assistants, "student"):
        networks[role] = run.network(role)
        check_network(networks[role], role, run.source)
    return networks


def check_network(network: Network, where: str, source: ImageSource) -> None:
    """Show a network two images of the data.

    Raises:
        SettingError: it cannot take them, or answers for other classes than the data has.
    """
    images = to_float(source.train.show(torch.arange(min(2, len(source.train)))))
    was_training = network.training
    try:
        with torch.no_grad():
            outputs: Outputs = network.eval()(images)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SettingError(
            f"{where}: {network.name} cannot take images of {tuple(images.shape[1:])}: {first_line(error)}"
        ) from error
    finally:
        network.train(was_training)
    shape = tuple(outputs.logits.shape)
    if shape != (len(images), source.num_classes):
        raise SettingError(
            f"{where}: {network.name} answers {len(images)} images with logits of shape {shape}, and {source.name} "
            f"has {source.num_classes} classes: give it {source.num_classes} outputs"
        )
    if not outputs.logits.isfinite().all():
        raise SettingError(f"{where}: {network.name} answers with NaN or infinity; check its weights, mean and std")


def first_line(error: BaseException) -> str:
    """What an error says, in one line: its first, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
