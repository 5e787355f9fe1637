"""VGG (Simonyan and Zisserman, 1409.1556) with BatchNorm for 32x32 images, with one linear head."""

from torch import nn

from distill.errors import SettingError
from distill.models.staged import check_positive, conv_bn_relu, initialise, staged

# Convolutions in each of the five blocks, by the number of weighted layers in the paper's name of the network.
BLOCKS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def cifar_vgg(*, depth: int, num_classes: int, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    """VGG-`depth` with BatchNorm: the first block is the stem, the other four are layer1 to layer4.

    layer1 to layer3 begin with a 2x2 maximum; so does layer4 for images of 64 pixels and more. (The names count two
    layers that the tables' networks, and these, leave out: VGG-8 has five convolutions and a head.)

    Raises:
        SettingError: depth is not one of 8, 11, 13, 16, 19, images are smaller than 8 pixels, or a size is less than 1.
    """
    if depth not in BLOCKS:
        raise SettingError(f"depth={depth}: must be one of {', '.join(map(str, BLOCKS))}")
    if image_size < 8:
        raise SettingError(f"image_size={image_size}: this network halves the image three times, so it needs 8 or more")
    check_positive(in_channels=in_channels)
    pooled = (False, True, True, True, image_size >= 64)
    inputs = (in_channels, *WIDTHS)
    stem, *stages = (_block(inputs[i], WIDTHS[i], BLOCKS[depth][i], pooled=pooled[i]) for i in range(len(WIDTHS)))
    network = staged(stem=stem, stages=stages, features=WIDTHS[-1], num_classes=num_classes)
    initialise(network, head_std=0.01)
    return network


def _block(in_channels: int, channels: int, convolutions: int, *, pooled: bool) -> nn.Sequential:
    pool = [nn.MaxPool2d(2)] if pooled else []
    inputs = [in_channels] + [channels] * (convolutions - 1)
    return nn.Sequential(*pool, *(conv_bn_relu(n, channels, 3, bias=True) for n in inputs))
