"""Probabilities in place of logits are told; what is as good as logits is not."""

import pytest
import torch

from distill.tasks import Classification

LOGITS = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("trained", [True, False])
def test_rows_that_sum_to_one_are_probabilities(trained: bool) -> None:
    said = Classification().outputs_doubt("teacher", LOGITS.softmax(1), trained=trained)
    assert said is not None
    assert said.startswith("teacher's outputs: rows are not negative and sum to 1, so these are probabilities already")
    assert Classification().outputs_doubt("teacher", LOGITS.softmax(1).bfloat16().float(), trained=trained) is not None


def test_values_between_zero_and_one_are_those_of_a_sigmoid_once_it_is_trained() -> None:
    assert "(sigmoid)" in str(Classification().outputs_doubt("teacher", LOGITS.sigmoid(), trained=True))
    assert Classification().outputs_doubt("teacher", LOGITS.sigmoid(), trained=False) is None


@pytest.mark.parametrize("fine", [LOGITS, LOGITS.log_softmax(1), LOGITS.relu() * 3, LOGITS.softmax(1) * 5])
def test_logits_and_their_like_are_not_doubted(fine: torch.Tensor) -> None:
    assert Classification().outputs_doubt("teacher", fine, trained=True) is None


def test_classes_that_are_ruled_out_say_nothing_of_the_others() -> None:
    ruled_out = torch.arange(5) == 3
    assert Classification().outputs_doubt("teacher", LOGITS.masked_fill(ruled_out, -torch.inf), trained=True) is None
    shares = LOGITS[:, :3].softmax(1)
    masked = torch.cat([shares, torch.full((16, 2), -torch.inf)], 1)
    assert "(softmax)" in str(Classification().outputs_doubt("teacher", masked, trained=True))
    sigmoid = torch.cat([LOGITS[:, :3].sigmoid(), torch.full((16, 2), -torch.inf)], 1)
    assert "(sigmoid)" in str(Classification().outputs_doubt("teacher", sigmoid, trained=True))
