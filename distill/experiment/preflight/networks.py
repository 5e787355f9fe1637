"""Do both networks take the data, and answer for its classes?"""

import copy

from torch import Tensor

from distill.config.networks import other_classes
from distill.config.trial_pass import show_samples
from distill.data import Source
from distill.errors import SettingError
from distill.experiment.run import Run
from distill.losses.logits import logits_fault
from distill.models.network import Network


def check_networks(run: Run) -> dict[str, Network]:
    """Build the networks of a run, as `Run.networks` does, and check each.

    Raises:
        SettingError: one cannot be built, cannot take the data's samples, or answers for other classes.
    """
    networks = run.networks()
    for role, network in networks.items():
        check_network(network, role, run.source)
    return networks


def spare(network: Network) -> Network:
    """A copy to try things on. It shares the weights of a network that is used as it is, which nothing moves, and
    which may be large."""
    tensors = (*network.parameters(), *network.buffers()) if network.trained else ()
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def check_logits(logits: Tensor, where: str, name: str) -> None:
    """Raise SettingError for a network's (N, C, *positions) logits that give no probabilities; -inf for some classes
    may stand."""
    if fault := logits_fault(logits):
        raise SettingError(f"{where}: {name} answers with {fault}; check its weights, mean and std")


def check_network(network: Network, where: str, source: Source) -> None:
    """Show a network two samples of the data.

    Raises:
        SettingError: it cannot take them, has other classes than the data, or has nothing to train.
    """
    outputs = show_samples(network, where, source)
    if fault := source.task.outputs_fault(outputs, min(2, len(source.train)), source.num_classes):
        raise SettingError(f"{where}: {network.name} {fault}")
    if network.comparable and outputs.classes != source.num_classes:
        raise SettingError(other_classes(where, network.name, outputs.classes, source))
    check_logits(outputs.made(), where, network.name)
    learns = where != "teacher" or not network.trained
    if learns and not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingError(
            f"{where}: {network.name} has no trainable weights: none has requires_grad=True"
            + ("; teacher.max_epochs=0 uses it as it is" if where == "teacher" else "")
        )
