"""`show=layers`: what methods can tap in the two networks of a run."""

from typing import Literal

from rich.console import Console

from distill.config.trial_pass import first_inputs
from distill.experiment.preflight.networks import check_networks
from distill.experiment.run import Run
from distill.models.layers import layers_table, list_layers

DEPTH = 2  # names in a path: stages and their blocks
WIDTH = 160  # columns, where the output is no terminal


def show_layers(run: Run, show: Literal["layers", "all_layers"]) -> None:
    """Print both networks' layers side by side, suggested pairs in one row.

    show: 'layers' for stages and their blocks, 'all_layers' for what is inside of them too.

    Raises:
        SettingError: a network cannot be built or cannot take the data's samples.
    """
    inputs = first_inputs(run.source)
    networks = check_networks(run)
    student, teacher = networks["student"], networks["teacher"]
    ours, theirs = (list_layers(network.backbone, network.preprocess(inputs)) for network in (student, teacher))
    table = layers_table(ours, theirs, depth=DEPTH if show == "layers" else None)
    table.title = f"student {student.name}, teacher {teacher.name}"
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    console.print(table)
    hidden = sum(layer.depth > DEPTH for layer in (*ours, *theirs)) if show == "layers" else 0
    console.print(
        "<->  layers that belong together: method.NAME.student_layers=[...] method.NAME.teacher_layers=[...]"
        "\n     patterns work too ('layer*.2'), and PATH:input is what goes into a layer",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    if hidden:
        console.print(f"     {hidden} layers inside of these: show=all_layers", highlight=False, soft_wrap=True)
