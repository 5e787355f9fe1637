"""A class for each pixel: losses, scores and refusals against independent computations."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from distill.data import Augment, ImageDataModule
from distill.data.digit_scenes import digit_scenes
from distill.data.source import ImageSource
from distill.data.split import Split
from distill.errors import SettingError
from distill.losses.top_k import TopK
from distill.methods import CRD, DIST, DKD, KD, MLKD, NKD, TVD, WSLD, LogitMSE, Method, ReverseKD, Supervised, TfKD
from distill.models.network import Network
from distill.tasks import Classification, SemanticSegmentation
from distill.tasks.evidence import Gain
from distill.types import Batch, Outputs

CLASSES, HEIGHT, WIDTH = 5, 6, 7
TASK = SemanticSegmentation()


def drawn(count: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's logits, and masks of which a third does not count."""
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = (2 * torch.randn(count, CLASSES, HEIGHT, WIDTH, generator=generator).double() for _ in range(2))
    masks = torch.randint(CLASSES, (count, HEIGHT, WIDTH), generator=generator)
    return logits, teacher, masks.masked_fill(torch.rand(masks.shape, generator=generator) < 0.3, 255)


def loss(method: Method, logits: Tensor, teacher: Outputs, masks: Tensor) -> Tensor:
    TASK.teach(method)
    return method(Outputs(logits), teacher, Batch(torch.zeros(len(masks), 1), masks, valid=TASK.valid(masks))).total()


METHODS: list[Callable[[], Method]] = [
    KD, DKD, DIST, NKD, WSLD, MLKD, ReverseKD, TVD, lambda: KD(reduction="positionmean"), TfKD, LogitMSE,
]  # fmt: skip


@pytest.mark.parametrize("make", METHODS)
def test_every_pixel_that_counts_is_a_sample_to_methods_of_logits(make: Callable[[], Method]) -> None:
    logits, teacher, masks = drawn()
    method = make()
    found = loss(method, logits, Outputs(teacher), masks)
    counting = masks != 255
    mine, theirs = (x.movedim(1, -1)[counting] for x in (logits, teacher))
    plain = make()
    Classification().teach(plain)
    expected = plain(Outputs(mine), Outputs(theirs), Batch(torch.zeros(len(mine), 1), masks[counting])).total()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_pixels_that_do_not_count_decide_nothing_and_get_no_gradient() -> None:
    logits, teacher, masks = drawn()
    logits.requires_grad_()
    loss(KD(), logits, Outputs(teacher), masks).backward()
    ignored = (masks == 255)[:, None].expand_as(logits)
    assert logits.grad is not None
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].all()
    other = torch.where(ignored, torch.full_like(teacher, 1e4), teacher)
    values = [loss(KD(), logits, Outputs(x), masks) for x in (teacher, other)]
    assert torch.equal(*values)


def test_a_batch_without_a_pixel_that_counts_has_a_loss_of_zero_with_a_gradient() -> None:
    logits, teacher, masks = drawn()
    logits.requires_grad_()
    total = loss(KD(), logits, Outputs(teacher), torch.full_like(masks, 255))
    total.backward()
    assert total == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_labels_loss_is_the_mean_over_pixels_that_count(smoothing: float) -> None:
    logits, _, masks = drawn()
    weights = torch.tensor([0.5, 2.0, 1.0, 0.7, 1.3], dtype=torch.float64)
    found = TASK.label_loss(smoothing, weights)(logits, masks)
    total, counted = 0.0, 0
    for n, y, x in (masks != 255).nonzero().tolist():
        shares = logits[n, :, y, x].log_softmax(0)
        total -= float((1 - smoothing) * weights[masks[n, y, x]] * shares[masks[n, y, x]])
        total -= float(smoothing / CLASSES * (weights * shares).sum())
        counted += 1
    assert float(found) == pytest.approx(total / counted, rel=1e-9)


def test_top_k_of_each_pixel_with_all_classes_is_the_same_divergence() -> None:
    logits, teacher, masks = drawn()
    top = TopK.from_logits(teacher, CLASSES, (4.0,))
    kept = Outputs(torch.empty(len(masks), 0, HEIGHT, WIDTH), top_k=top)
    found, expected = (loss(KD(), logits, answers, masks) for answers in (kept, Outputs(teacher)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(kept.likeliest(), teacher.argmax(1))


@pytest.mark.parametrize("sizes", [[4], [1, 3], [2, 1, 1]])
def test_miou_is_scikit_learns_over_the_whole_split_in_any_batches(sizes: list[int]) -> None:
    logits, teacher, masks = drawn()
    logits[:, 4] -= 50  # a class that occurs and is never named
    evaluation, metrics = TASK.evaluation(CLASSES), TASK.epoch_metrics()
    for mine, theirs, mask in zip(*(x.split(sizes) for x in (logits, teacher, masks)), strict=True):
        evaluation.update(mine.float(), mask, theirs.float())
        for metric in metrics.values():
            metric.update(mine, mask)
    counting, named = masks != 255, logits.argmax(1)
    true, said = masks[counting].numpy(), named[counting].numpy()
    values = evaluation.scored().values
    expected = jaccard_score(true, said, average="macro", labels=range(CLASSES))
    assert values["miou"] == pytest.approx(expected, abs=1e-6)
    assert float(metrics["miou"].compute()) == pytest.approx(expected, abs=1e-6)
    assert values["accuracy"] == pytest.approx((true == said).mean(), abs=1e-9)
    assert float(metrics["accuracy"].compute()) == pytest.approx((true == said).mean(), abs=1e-6)
    counts, scores = evaluation.by_class()
    assert counts.tolist() == [int((true == c).sum()) for c in range(CLASSES)]
    assert scores.tolist() == pytest.approx(jaccard_score(true, said, average=None, labels=range(CLASSES)))
    rows = [x.movedim(1, -1)[counting] for x in (logits, teacher)]
    assert values["agreement"] == pytest.approx(float((rows[0].argmax(1) == rows[1].argmax(1)).double().mean()))
    kl = F.kl_div(rows[0].log_softmax(1), rows[1].log_softmax(1), log_target=True, reduction="batchmean")
    assert values["kl"] == pytest.approx(float(kl), rel=1e-4)


def test_classes_that_neither_occur_nor_are_named_are_left_out_of_the_mean() -> None:
    evaluation, masks = TASK.evaluation(4), torch.tensor([[[0, 0, 1, 255]]])
    logits = F.one_hot(torch.tensor([[[0, 1, 1, 3]]]), 4).movedim(-1, 1).float()
    evaluation.update(logits, masks, None)
    assert evaluation.scored().values["miou"] == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_the_paired_test_compares_images() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(3, (12, 5, 5), generator=generator)
    exact = 9 * F.one_hot(masks, 3).movedim(-1, 1).float()
    ours, theirs = TASK.evaluation(3), TASK.evaluation(3)
    ours.update(exact, masks, None)
    theirs.update(torch.randn(12, 3, 5, 5, generator=generator), masks, None)
    gain = Gain.of(TASK.metric, ours, theirs)
    assert ours.scored().values["miou"] == 1
    assert gain.test.gained == 12
    assert gain.test.p_value < 0.001
    assert 0 < gain.low <= gain.value <= gain.high
    assert ours.standing(TASK.chance(masks.to(torch.uint8))).convincing


class _Strided(nn.Module):
    """Logits at a quarter of the image's sides."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, CLASSES, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images)
        return logits


def test_maps_of_another_stride_are_brought_to_the_size_of_the_images() -> None:
    images, network = torch.rand(2, 1, 16, 24), Network(_Strided(), size=32)
    logits = network(images).logits
    assert logits.shape == (2, CLASSES, 16, 24)
    small = network.backbone(F.interpolate(images, (32, 32), mode="bilinear", antialias=True))
    torch.testing.assert_close(logits, F.interpolate(small, (16, 24), mode="bilinear"))


def test_batches_move_masks_with_images_and_say_what_counts() -> None:
    source = digit_scenes(train=12, val=2)
    data = ImageDataModule(source, batch_size=12, augment=Augment(flip=True, zoom=[0.5, 0.9]))
    batch = next(iter(data.train_dataloader()))
    assert batch.targets.dtype == torch.int64
    assert batch.valid is not None
    assert torch.equal(batch.valid, batch.targets != 255)
    assert 0.1 < (~batch.valid).float().mean() < 0.8
    bright = batch.inputs[:, 0] > 0.6  # digits alone are so bright
    assert (batch.targets[bright & batch.valid] > 0).float().mean() > 0.9
    again = next(iter(ImageDataModule(source, batch_size=12, augment=data.augment).train_dataloader()))
    assert torch.equal(batch.targets, again.targets)


MASKS = torch.zeros(2, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (MASKS + 7, "train masks hold 7, and there are 2 classes: 0 to 1, or 255"),
        (MASKS[:, 0], "train masks are of shape"),
        (MASKS.long(), "labels are torch.int64; they must be uint8"),
        (MASKS[:, :3], "train masks are 3 x 4 and images 4 x 4"),
    ],
)
def test_wrong_masks_are_named(masks: Tensor, message: str) -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(SettingError, match=message):
        ImageSource("mine", Split(images, masks), Split(images, MASKS), ["a", "b"], task=TASK)


def test_what_segmentation_has_not_is_refused() -> None:
    with pytest.raises(SettingError, match="class_weights=balanced"):
        TASK.balanced(MASKS)
    with pytest.raises(SettingError, match="nothing to tell apart"):
        TASK.check_told_apart("mine", MASKS, ["a", "b"])
    with pytest.raises(SettingError, match="a class for each sample"):
        TASK.teach(CRD())
    TASK.teach(Supervised())


def test_masks_are_renumbered_and_ignored_pixels_stay() -> None:
    masks = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    assert TASK.renumbered(masks, torch.tensor([3, 0]), 4).tolist() == [[[3, 0, 255]]]


def test_digit_scenes_are_the_same_for_the_same_numbers() -> None:
    one, other = digit_scenes(train=6, val=3), digit_scenes(train=6, val=3)
    assert torch.equal(one.train.targets, other.train.targets)
    assert one.class_names == ["background", *map(str, range(10))]
    with pytest.raises(ValueError, match="target=circles: must be one of masks"):
        digit_scenes("circles")  # type: ignore[arg-type]
