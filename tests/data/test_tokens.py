"""Token sequences: kept without padding, shown with it, those of like length together."""

import pytest
import torch
from torch import Tensor

from distill.data import DataModule
from distill.data.order import BUCKET, TrainingOrder
from distill.data.token_source import TokenSource
from distill.data.tokens import PAD_TO, Tokens
from distill.errors import SettingError
from distill.teachers.fingerprint import split

LENGTHS = torch.tensor([3, 17, 1, 16, 40])


def tokens(lengths: Tensor = LENGTHS, targets: Tensor | None = None) -> Tokens:
    """Samples whose tokens are 100 * their number and a place from 1."""
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    ids = torch.cat([100 * i + torch.arange(1, length + 1) for i, length in enumerate(lengths.tolist())])
    targets = torch.arange(len(lengths)) % 2 if targets is None else targets
    return Tokens({"input_ids": ids.int(), "token_type_ids": (ids % 2).int()}, starts, targets, {"input_ids": 7})


def test_a_batch_is_padded_to_its_longest_rounded_up() -> None:
    batch = tokens().batch(torch.tensor([3, 0]))
    assert isinstance(batch.inputs, dict)
    ids, mask, kinds = (batch.inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    assert ids.shape == mask.shape == kinds.shape == (2, PAD_TO)
    assert ids.dtype == mask.dtype == torch.int64
    assert ids[0].tolist() == [300 + place for place in range(1, 17)]
    assert ids[1].tolist() == [1, 2, 3] + [7] * 13
    assert mask.sum(1).tolist() == [16, 3]
    assert mask[1].tolist() == [1] * 3 + [0] * 13
    assert kinds[1].tolist() == [1, 0, 1] + [0] * 13
    assert batch.targets.tolist() == [1, 0]
    assert tokens().inputs(torch.tensor([4, 2]))["input_ids"].shape == (2, 48)


def test_batches_of_a_source_hold_each_sample_once_an_epoch() -> None:
    source = TokenSource("made", tokens(), tokens(), ["a", "b"])
    batches = DataModule(source, batch_size=2, samples=torch.arange(4)).train_dataloader()
    shown = list(batches)
    assert sorted(int(i) for batch in shown for i in batch.indices) == [0, 1, 2, 3]  # type: ignore[union-attr]
    for batch in shown:
        assert batch.indices is not None
        assert torch.equal(batch.inputs["input_ids"][:, 0], 100 * batch.indices + 1)  # type: ignore[index]
        assert len(batch) == 2
    assert [batch.indices.tolist() for batch in DataModule(source, batch_size=1).val_dataloader()] == [  # type: ignore[union-attr]
        [0, 1, 2, 3],
        [4],
    ]
    assert source.size_in_words == "1 to 40 tokens"


@pytest.mark.parametrize("processes", [1, 2])
def test_like_lengths_come_together_the_same_for_any_number_of_processes(processes: int) -> None:
    count, step = 1000, 8
    lengths = torch.randint(1, 200, (count,), generator=torch.Generator().manual_seed(0))

    def epoch(number: int, known: Tensor | None) -> list[Tensor]:
        orders = [
            TrainingOrder(torch.arange(count), step // processes, 5, process, processes, lengths=known)
            for process in range(processes)
        ]
        for order in orders:
            order.set_epoch(number)
        return [torch.cat([draw.indices for draw in draws]) for draws in zip(*orders, strict=True)]

    def waste(steps: list[Tensor]) -> float:
        padded = sum(int(lengths[each].max()) * len(each) for each in steps)
        return padded / sum(int(lengths[each].sum()) for each in steps) - 1

    steps = epoch(0, lengths)
    assert len(steps) == count // step
    assert torch.cat(steps).unique().numel() == count
    assert waste(steps) < 0.2 < 0.6 < waste(epoch(0, None))
    assert [each.tolist() for each in steps] == [each.tolist() for each in epoch(0, lengths)]
    assert [each.tolist() for each in steps] != [each.tolist() for each in epoch(1, lengths)]
    whole = TrainingOrder(torch.arange(count), step, 5, lengths=lengths)
    assert [draw.indices.sort().values.tolist() for draw in whole] == [each.sort().values.tolist() for each in steps]
    means = torch.tensor([float(lengths[each].float().mean()) for each in steps])[:BUCKET]
    assert not torch.equal(means, means.sort().values)  # short ones don't all come first


def test_what_fills_no_step_is_left_out_by_chance_and_not_by_length() -> None:
    lengths = torch.arange(1, 11)
    left_out = set()
    for epoch in range(30):
        order = TrainingOrder(torch.arange(10), 4, 0, lengths=lengths)
        order.set_epoch(epoch)
        left_out |= set(range(10)) - {int(i) for draw in order for i in draw.indices}
    assert left_out == set(range(10))


def test_other_tokens_have_another_key() -> None:
    same, other, padded = tokens(), tokens(), tokens()
    other.columns["input_ids"][4] += 1
    object.__setattr__(padded, "padding", {"input_ids": 8})
    keys = {split(each) for each in (tokens(), same, other, padded, tokens(targets=torch.tensor([1, 1, 0, 0, 0])))}
    assert len(keys) == 4


def test_a_sample_without_a_token_or_with_a_label_outside_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^made: val: 1 has no token; leave it out$"):
        TokenSource("made", tokens(), tokens(torch.tensor([2, 0, 3])), ["a", "b"])
    with pytest.raises(SettingError, match=r"^made: train labels run from 0 to 1, and there are 1 classes"):
        TokenSource("made", tokens(), tokens(), ["a"])
