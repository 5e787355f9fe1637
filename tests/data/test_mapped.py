"""Memory maps that go to other processes: as the name of their file, whatever part of it they are."""

import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pytest
import torch

from distill.data import Stream
from distill.data.arrays import arrays
from distill.data.custom import DatasetImages
from distill.data.huggingface import huggingface

SMALL = 4000  # bytes of a pickle that holds no images
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 24, 20, 3), dtype=np.uint8)
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "images.npy"
    np.save(path, IMAGES)
    return path


def sent(value: Any) -> tuple[Any, int]:
    """What arrives in a worker, and the bytes of it."""
    content = bytes(ForkingPickler.dumps(value))
    return pickle.loads(content), len(content)


@pytest.mark.parametrize(
    "part",
    [
        np.s_[:],
        np.s_[..., None],
        np.s_[7:31:3],
        np.s_[::-1, 3:, ::-2],
        np.s_[5],
    ],
    ids=str,
)
def test_a_part_of_a_map_is_sent_by_its_place(file: Path, part: Any) -> None:
    mapped: Array = np.load(file, mmap_mode="r")[part]
    for _ in range(2):  # a worker may have workers
        mapped, size = sent(mapped)
        assert size < SMALL
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable
        assert np.array_equal(mapped, IMAGES[part])


def test_other_orders_types_and_modes(tmp_path: Path) -> None:
    turned = np.asfortranarray(IMAGES.astype(">u2"))
    np.save(tmp_path / "turned.npy", turned)
    mapped, size = sent(np.load(tmp_path / "turned.npy", mmap_mode="r+"))
    assert size < SMALL
    assert np.array_equal(mapped, turned)
    mapped[0] = 7
    assert (np.load(tmp_path / "turned.npy")[0] == 7).all()


def test_what_lies_in_no_file_is_sent_whole(file: Path) -> None:
    changed = np.load(file, mmap_mode="c")
    changed[3] = 9
    picked = np.load(file, mmap_mode="r")[[4, 2]]
    for array in (changed, picked, np.load(file, mmap_mode="r")[:0]):
        assert np.array_equal(sent(array)[0], array)


def test_a_map_that_is_kept_holds_its_numbers(file: Path) -> None:
    assert len(pickle.dumps(np.load(file, mmap_mode="r"))) > IMAGES.nbytes


def show(stream: Stream) -> Array:
    """In a worker."""
    shown: Array = stream.show(torch.tensor([1, 4])).numpy()
    return shown


class Mapped:
    """A data set of someone's own over a map."""

    def __init__(self, file: Path) -> None:
        self.images = np.load(file, mmap_mode="r")

    def __getitem__(self, index: int) -> tuple[Array, int]:
        return self.images[index].transpose(2, 0, 1), 0


def test_a_spawned_worker_reads_arrays_and_data_sets_of_ones_own_from_their_files(file: Path, tmp_path: Path) -> None:
    for name, array in {"train_images": IMAGES, "val_images": IMAGES[:5]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "train_labels.npy", np.arange(60) % 3)
    np.save(tmp_path / "val_labels.npy", np.arange(5) % 3)
    stream = arrays(str(tmp_path), in_memory=False).train
    own = Stream(DatasetImages(Mapped(file), torch.zeros(60).long(), "train", grey=False), (3, 24, 20), resize=20)
    assert isinstance(stream, Stream)
    assert len(pickle.dumps(stream.source)) < SMALL  # however it is pickled
    assert sent(own)[1] < SMALL
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for given in (stream, own):
            assert np.array_equal(pool.apply(show, (given,)), IMAGES[[1, 4]].transpose(0, 3, 1, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_hugging_face_data_set_names_its_own_files(tmp_path: Path) -> None:
    rows = [np.random.default_rng(i).integers(0, 256, (24, 20, 3), dtype=np.uint8) for i in range(20)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    made = datasets.Dataset.from_dict({"image": rows, "label": [i % 2 for i in range(20)]}, features=features)
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "set")
    stream = huggingface(str(tmp_path / "set"), in_memory=False).train
    assert isinstance(stream, Stream)
    again, size = sent(stream)
    assert size < sum(row.nbytes for row in rows) / 2
    assert torch.equal(again.show(torch.tensor([3])), stream.show(torch.tensor([3])))
