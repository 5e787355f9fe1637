import os
import pickle
import warnings
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import Tensor, nn

from distill.models.checkpoint import load_weights
from distill.models.weights_file import CheckpointError, read_metadata, save_weights


def net(classes: int = 3, channels: int = 2, blocks: int = 2, *, width: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)) for _ in range(blocks)]
    parts = {"stem": nn.Conv2d(channels, width, 1), "layer1": nn.Sequential(*layers), "head": nn.Linear(width, classes)}
    return nn.Sequential(OrderedDict(parts))


def assert_same(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def assert_loads(path: Path, source: nn.Module, prefix: str) -> None:
    target = net(seed=1)
    report = load_weights(target, path)
    assert_same(target, source)
    assert report.prefix == prefix
    assert set(report.matched) == set(source.state_dict())
    assert report.missing == ()
    assert "\n" not in report.summary()
    assert str(path) in report.summary()


# Writing


def test_weights_survive_the_round_trip_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.safetensors"
    save_weights(net(), path, {"model": "small"})
    assert_loads(path, net(), "")
    assert read_metadata(path) == {"model": "small"}
    assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.strided = nn.Parameter(torch.arange(6.0).view(2, 3).t())
        self.register_buffer("view", torch.arange(8.0)[2:5])


def test_tied_and_strided_tensors_are_saved_whole(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    save_weights(source, tmp_path / "tied.safetensors")
    report = load_weights(target, tmp_path / "tied.safetensors")
    assert_same(source, target)
    assert target.one.weight is target.two.weight
    assert set(report.matched) == set(source.state_dict())
    assert not source.strided.is_contiguous()  # saving changed nothing


def test_a_tied_tensor_may_be_in_the_file_once(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    state = {name: t.contiguous().clone() for name, t in source.state_dict().items() if name != "two.weight"}
    safetensors.torch.save_file(state, tmp_path / "once.safetensors")
    report = load_weights(target, tmp_path / "once.safetensors")
    assert_same(source, target)
    assert report.missing == ("two.weight",)


def test_a_compiled_network_leaves_no_trace_in_the_names(tmp_path: Path) -> None:
    path = tmp_path / "compiled.safetensors"
    save_weights(torch.compile(net()), path)  # type: ignore[arg-type]
    assert_loads(path, net(), "")
    compiled = torch.compile(net(seed=1))
    load_weights(compiled, path)  # type: ignore[arg-type]
    assert torch.equal(compiled.head.weight, net().head.weight)  # type: ignore[attr-defined]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(net(), path)

    def broken(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    with pytest.raises(CheckpointError, match="No space left"):
        save_weights(net(seed=1), path)
    assert_loads(path, net(), "")
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_what_is_no_tensor_cannot_be_saved(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> object:
            return {"step": 1}

        def set_extra_state(self, state: object) -> None: ...

    with pytest.raises(CheckpointError, match="_extra_state"):
        save_weights(Odd(2, 2), tmp_path / "odd.safetensors")


# Reading: every layout


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_plain_state_dicts(tmp_path: Path, suffix: str) -> None:
    torch.save(net().state_dict(), tmp_path / f"net.{suffix}")
    assert_loads(tmp_path / f"net.{suffix}", net(), "")


def test_the_format_before_zip_archives(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    assert_loads(tmp_path / "net.pt", net(), "")


@pytest.mark.parametrize("nest", ["model", "state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "student.backbone.", "model._orig_mod."])
def test_nests_and_prefixes_are_found(tmp_path: Path, nest: str, prefix: str) -> None:
    optimizer = torch.optim.SGD(net().parameters(), lr=0.1, momentum=0.9).state_dict()
    state = {prefix + name: t for name, t in net().state_dict().items()}
    torch.save({"epoch": 3, "optimizer": optimizer, nest: state}, tmp_path / "net.pt")
    assert_loads(tmp_path / "net.pt", net(), f"{nest}.{prefix.replace('_orig_mod.', '')}")


def test_a_lightning_checkpoint(tmp_path: Path) -> None:
    class Task(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.projector = nn.Linear(4, 9)
            self.student = nn.ModuleDict({"backbone": net()})

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            out: Tensor = self.student["backbone"].head(batch[0]).sum()
            return out

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    trainer = pl.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    task = Task()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 4)), batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert_loads(tmp_path / "last.ckpt", task.student["backbone"], "state_dict.student.backbone.")


def test_a_shape_decides_between_two_prefixes(tmp_path: Path) -> None:
    states = {"teacher": net(width=8), "student": net()}
    torch.save({"state_dict": {f"{k}.{n}": t for k, m in states.items() for n, t in m.state_dict().items()}},
               tmp_path / "both.ckpt")  # fmt: skip
    assert_loads(tmp_path / "both.ckpt", net(), "state_dict.student.")


def test_two_different_networks_that_fit_are_not_guessed_between(tmp_path: Path) -> None:
    torch.save({"teacher": net(seed=2).state_dict(), "student": net().state_dict()}, tmp_path / "both.pt")
    with pytest.raises(CheckpointError, match=r"several networks.*both\.pt#teacher or .*both\.pt#student"):
        load_weights(net(), tmp_path / "both.pt")


def test_the_usual_place_wins_over_an_average_beside_it(tmp_path: Path) -> None:
    torch.save({"model_ema": net(seed=2).state_dict(), "model": net().state_dict()}, tmp_path / "ema.pt")
    assert_loads(tmp_path / "ema.pt", net(), "model.")


def test_what_published_checkpoints_keep_beside_weights_is_read(tmp_path: Path) -> None:
    beside = {"args": Namespace(lr=0.1), "best": np.float32(71.2), "accuracy": np.float64(0.7)}
    torch.save({**beside, "model": net().state_dict()}, tmp_path / "net.pt")
    assert_loads(tmp_path / "net.pt", net(), "model.")


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    torch.save(net().half().state_dict(), tmp_path / "half.pt")
    target = net(seed=1)
    load_weights(target, tmp_path / "half.pt")
    assert target.head.weight.dtype == torch.float32
    assert torch.equal(target.head.weight, net().half().float().head.weight)


def test_an_additional_head_is_ignored_and_reported(tmp_path: Path) -> None:
    state = {**net().state_dict(), "auxiliary.weight": torch.ones(3), "token": torch.ones(1)}
    torch.save(state, tmp_path / "net.pt")
    report = load_weights(net(), tmp_path / "net.pt")
    assert report.unexpected == ("auxiliary.weight", "token")
    assert "2 in the file ignored (auxiliary.weight, token)" in report.summary()


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    state = {name: t for name, t in net().state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pt")
    report = load_weights(net(), tmp_path / "old.pt")
    assert report.missing == ("layer1.0.1.num_batches_tracked", "layer1.1.1.num_batches_tracked")


# Reading: what must not be


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, form: str) -> None:
    path, mark = tmp_path / "bad.pt", tmp_path / "ran"
    content = {"state_dict": net().state_dict(), "extra": Malicious(mark)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"bad\.pt: refused.*torch\.save\(model\.state_dict"):
        load_weights(net(), path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # so the file was a real attempt


def test_a_whole_pickled_network_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"refused.*\(torch\.nn\.modules\.linear\.Linear\)"):
        load_weights(nn.Linear(2, 2), tmp_path / "whole.pt")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt", "old.pt"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(net(width=32).state_dict(), path, _use_new_zipfile_serialization=name != "old.pt")
    else:
        save_weights(net(width=32), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read.*download it again"):
        load_weights(net(width=32), path)


@pytest.mark.parametrize("name", ["page.pt", "page.safetensors"])
def test_a_web_page_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>404 Not Found, and some more words to fill the header</html>")
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read"):
        load_weights(net(), tmp_path / name)


def test_a_missing_file_is_named_with_what_lies_beside(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "teacher.pt")
    with pytest.raises(CheckpointError, match=r"teacher\.pth: no such file; did you mean teacher\.pt"):
        load_weights(net(), tmp_path / "teacher.pth")
    with pytest.raises(CheckpointError, match="its folder does not exist"):
        load_weights(net(), tmp_path / "nowhere" / "teacher.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_weights(net(), tmp_path)


def test_a_file_without_weights(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_weights(net(), tmp_path / "list.pt")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (net(classes=5), "trained for 5 classes and the network here has 3"),
        (net(channels=1), "trained on images of 1 channels and the network here takes 2"),
        (net(blocks=3), r"another architecture.*the file has 7 more \(layer1\.2\.0\.weight"),
        (net(blocks=1), r"another architecture.*6 are not in the file \(layer1\.1\.0\.weight"),
        (net(width=8), r"another architecture.*stem\.weight 8x2x1x1 for 4x2x1x1"),
        (nn.Sequential(nn.Linear(2, 2)), r"another architecture: none of its tensors"),
    ],
    ids=["classes", "channels", "deeper", "shallower", "wider", "foreign"],
)
def test_another_network_is_refused_and_nothing_is_changed(
    tmp_path: Path, theirs: nn.Module, words: str, prefix: str
) -> None:
    torch.save({prefix + name: t for name, t in theirs.state_dict().items()}, tmp_path / "net.pt")
    target = net()
    with pytest.raises(CheckpointError, match=r"net\.pt: .*" + words):
        load_weights(target, tmp_path / "net.pt")
    assert_same(target, net())


def test_metadata_of_what_is_not_safetensors(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_metadata(tmp_path / "net.pt")
