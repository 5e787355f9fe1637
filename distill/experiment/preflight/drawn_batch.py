"""A training batch as a picture, its masks or boxes drawn: whether labels lie where objects do is seen at once."""

from torch import Tensor

from distill.data.order import Draw
from distill.data.source import ImageSource
from distill.experiment.run import Run
from distill.files import write_atomically

FILE = "preflight.png"
MOST = 8  # images


def draw_batch(run: Run) -> None:
    """Write `preflight.png` into the run's directory, of images as the teacher is shown them; only where labels lie in
    their images."""
    if not (run.source.task.moves and isinstance(run.source, ImageSource)):
        return
    from distill.report.pictures import labelled  # matplotlib takes a second to import

    loader = run.stage("teacher").data().train_dataloader()
    epoch, indices = next(iter(loader.order))
    batch = loader.__getitems__(Draw(epoch, indices[:MOST]))
    assert isinstance(batch.inputs, Tensor)
    images = (255 * batch.inputs.cpu()).round().byte()
    figure = labelled(run.source.task, images, batch.targets.cpu(), run.source.class_names)
    write_atomically(run.directory / FILE, lambda file: figure.savefig(file, dpi=120))
