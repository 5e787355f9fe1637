from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from distill.models.exported import exported
from distill.models.preprocessing import preprocessing_of
from distill.models.resnet import cifar_resnet


def save(module: nn.Module, path: Path, *, batch: bool = True, sides: bool = False, size: int = 32) -> None:
    shapes = {0: Dim("batch", min=1, max=64)} if batch else {}
    if sides:
        shapes |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = torch.randn(2, 3, size, size)
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=(shapes,)), path)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return cifar_resnet(depth=8, num_classes=7).eval()


@pytest.fixture(scope="module")
def program(resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("programs") / "resnet.pt2"
    save(resnet, path)
    return str(path)


def test_it_answers_as_the_network_did_at_any_batch_size_in_any_mode(program: str, resnet: nn.Module) -> None:
    module = exported(path=program)
    for mode, samples in ((True, 1), (False, 5)):
        module.train(mode)
        x = torch.randn(samples, 3, 32, 32)
        torch.testing.assert_close(module(x), resnet(x))
    nn.Sequential(module).train().eval()
    assert not module.training


def test_it_is_frozen(program: str) -> None:
    module = exported(path=program)
    assert list(module.parameters())
    assert not any(p.requires_grad for p in module.parameters())


def test_a_fixed_size_is_asked_for(program: str, resnet: nn.Module, tmp_path: Path) -> None:
    assert preprocessing_of(exported(path=program)).size == 32
    save(resnet, tmp_path / "any.pt2", sides=True)
    free = exported(path=str(tmp_path / "any.pt2"))
    assert preprocessing_of(free).size is None
    assert preprocessing_of(free).trained
    assert free(torch.randn(3, 3, 48, 40)).shape == (3, 7)


def test_programs_that_do_not_fit(program: str, resnet: nn.Module, tmp_path: Path) -> None:
    assert preprocessing_of(exported(path=program)).channels == 3
    save(resnet, tmp_path / "fixed.pt2", batch=False)
    with pytest.raises(ValueError, match=r"takes batches of 2 only; export it with dynamic_shapes"):
        exported(path=str(tmp_path / "fixed.pt2"))
    vectors = torch.export.export(nn.Linear(4, 7), (torch.ones(2, 4),), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(vectors, tmp_path / "vectors.pt2")
    with pytest.raises(ValueError, match=r"must take one of \(N, C, H, W\)"):
        exported(path=str(tmp_path / "vectors.pt2"))


def test_files_that_are_no_programs(program: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.pt2': no such file"):
        exported(path=str(tmp_path / "gone.pt2"))
    (tmp_path / "cut.pt2").write_bytes(Path(program).read_bytes()[:3000])
    with pytest.raises(ValueError, match="is damaged or no program"):
        exported(path=str(tmp_path / "cut.pt2"))
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt2")
    with pytest.raises(ValueError, match="could not be read as a program"):
        exported(path=str(tmp_path / "weights.pt2"))
