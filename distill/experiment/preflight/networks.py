"""Do both networks take the data, and answer for its classes?"""

from distill.config.networks import other_classes, show_images
from distill.data import ImageSource
from distill.errors import SettingError
from distill.experiment.run import Run
from distill.models.network import Network


def check_networks(run: Run) -> dict[str, Network]:
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
        SettingError: it cannot take them, answers for other classes than the data has, or has nothing to train.
    """
    logits = show_images(network, where, source).logits
    if logits.dim() != 2 or len(logits) != min(2, len(source.train)):
        raise SettingError(
            f"{where}: {network.name} answers {min(2, len(source.train))} images with logits of shape "
            f"{tuple(logits.shape)}; must be (images, {source.num_classes})"
        )
    if network.comparable and logits.shape[1] != source.num_classes:
        raise SettingError(other_classes(where, network.name, logits.shape[1], source))
    if not logits.isfinite().all():
        raise SettingError(f"{where}: {network.name} answers with NaN or infinity; check its weights, mean and std")
    learns = where != "teacher" or not network.trained
    if learns and not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingError(
            f"{where}: {network.name} has no trainable weights: none has requires_grad=True"
            + ("; teacher.max_epochs=0 uses it as it is" if where == "teacher" else "")
        )
