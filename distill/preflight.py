"""What can be known before hours are spent: one batch through everything, and what is wrong said in one line."""

import torch

from distill.data import ImageSource
from distill.data.augment.color import to_float
from distill.errors import SettingError
from distill.models.network import Network
from distill.types import Outputs


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
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"{where}: {network.name} cannot take images of {tuple(images.shape[1:])}: {reason}"
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
