"""What the networks of a run make of their inputs, and of what they answer."""

from distill.config.trial_pass import show_samples
from distill.data import Source
from distill.experiment.run import Run
from distill.models.network import Network

SHOWN = 4  # classes


def preparation_lines(networks: dict[str, Network], source: Source) -> list[tuple[str, str]]:
    """Lines of the account: how each network prepares its inputs, and which of its outputs are the data's classes.

    Also where the weights of a network are from, if nobody but its builder says so.
    """
    lines = []
    for role, network in networks.items():
        if network.preparation:
            lines.append((source.noun, f"{role}: {network.preparation}"))
        if network.provenance:
            lines.append(("weights", f"{role}: {network.provenance}"))
        if network.classes is not None:
            pairs = [f"{name} {output}" for name, output in zip(source.class_names, network.classes, strict=True)]
            more = ", ..." if len(pairs) > SHOWN else ""
            lines.append(("classes", f"{role}: its outputs are {', '.join(pairs[:SHOWN])}{more}"))
    return lines


def output_doubts(run: Run, networks: dict[str, Network]) -> list[str]:
    """Warnings of networks that give probabilities in place of logits."""
    found = [
        run.source.task.outputs_doubt(role, show_samples(network, role, run.source).logits, trained=network.trained)
        for role, network in networks.items()
        if network.comparable
    ]
    return [doubt for doubt in found if doubt is not None]
