"""The teacher's answers beside the student's forward pass: on streams of no effect, and on a GPU where there is one."""

import pytest
import torch
from pretended_gpu import GPU, pretended_streams

from distill import DistillModule
from distill.methods import KD
from distill.models.cnn import cnn
from distill.training.streams import SideStream
from distill.types import Batch


def test_work_begins_after_what_was_asked_before_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = pretended_streams(monkeypatch)
    aside = SideStream()
    for _ in range(2):
        with aside.work(GPU):
            said.append("work")
        said.append("what follows")
        aside.join()
    assert said == 2 * [
        "aside waits for training",
        "aside begins",
        "work",
        "aside ends",
        "what follows",
        "training waits for aside",
    ]


def test_on_the_processor_things_are_done_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    said = pretended_streams(monkeypatch)
    aside = SideStream()
    with aside.work(torch.device("cpu")):
        pass
    aside.join()
    assert said == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_steps_are_those_of_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for aside in (True, False):
        with monkeypatch.context() as patch:
            if not aside:
                patch.setattr(SideStream, "work", lambda self, device: torch.no_grad())
            torch.manual_seed(0)
            student, teacher = (cnn(num_classes=10, in_channels=3, width=width) for width in (8, 64))
            module = DistillModule(student, teacher, KD()).to("cuda").train()
            optimizer = torch.optim.SGD(module.student.parameters(), 0.1)
            images, targets = torch.rand(20, 128, 3, 32, 32, device="cuda"), torch.arange(128, device="cuda") % 10
            losses = []
            for shown in images:
                loss = module.training_step(Batch(shown, targets), 0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            found.append(torch.stack(losses))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
