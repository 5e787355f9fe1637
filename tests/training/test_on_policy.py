"""What a student writes itself: from its own distribution, by seed, step and sample, without a prompt in the loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment.pipeline import prepare
from distill.methods import KD, LogitMSE
from distill.models.network import Network
from distill.tasks import LanguageModelling
from distill.training.module import DistillModule
from distill.training.on_policy import OnPolicy, prompts_of
from distill.types import Batch

transformers = pytest.importorskip("transformers")

from distill.models.causal_lm import causal_lm  # noqa: E402
from distill.models.writing import SeededSampling  # noqa: E402

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
END, N = 3, -100
PADDED = Batch(
    {
        "input_ids": torch.tensor([[5, 6, 7, 8, 9, 0], [4, 5, 6, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]),
    },
    torch.tensor([[N, N, 8, 9, 3, N], [5, 6, 3, N, N, N]]),
    torch.tensor([7, 2]),
)
PACKED = Batch(
    {
        "input_ids": torch.tensor([[5, 6, 7, 8, 4, 5, 6, 0]]),
        "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0]]),
    },
    torch.tensor([[N, 7, 8, 3, N, N, 3, N]]),
    torch.tensor([4]),
)


def network(seed: int, positions: int = 32) -> Network:
    torch.manual_seed(seed)
    config = {**SMALL, "max_position_embeddings": positions, "vocab_size": 14, "initializer_range": 0.5}
    return Network(causal_lm(num_classes=12, config=config))  # and two outputs that are no tokens


def texts(batch: Batch) -> list[list[int]]:
    """Prompts with what was written."""
    found = []
    inputs: Any = batch.inputs
    for ids, targets, there in zip(inputs["input_ids"], batch.targets, inputs["attention_mask"], strict=True):
        length = int(there.sum())
        found.append([*ids[:length].tolist(), int(targets[length - 1])])
    return found


def test_prompts_are_what_comes_before_the_first_token_to_learn() -> None:
    assert [(row, ids.tolist()) for row, ids in prompts_of(PADDED)] == [(0, [5, 6, 7]), (1, [4])]
    assert [(row, ids.tolist()) for row, ids in prompts_of(PACKED)] == [(0, [5, 6]), (0, [4, 5, 6])]


@pytest.mark.parametrize("batch", [PADDED, PACKED], ids=["padded", "packed"])
def test_what_is_written_is_a_function_of_seed_step_and_sample(batch: Batch) -> None:
    student = network(0).train()
    write = OnPolicy(1.0, 6, 1.0, END, seed=0)
    written = write(batch, student, step=5)
    assert student.training
    assert texts(written) == texts(write(batch, student, step=5))
    assert texts(written) != texts(write(batch, student, step=6))
    assert texts(written) != texts(OnPolicy(1.0, 6, 1.0, END, seed=1)(batch, student, step=5))
    if batch is PADDED:  # alone a text is what it is beside others
        alone = Batch({k: v[1:] for k, v in batch.inputs.items()}, batch.targets[1:], batch.indices[1:])  # type: ignore[union-attr,index]
        assert texts(write(alone, student, step=5)) == texts(written)[1:]


def test_prompts_do_not_count_and_the_end_token_does() -> None:
    write = OnPolicy(1.0, 8, 1.0, END, seed=0)
    for step in range(20):
        written = write(PADDED, network(0), step)
        assert written.written
        for row, (_, prompt) in enumerate(prompts_of(PADDED)):
            (text, targets), valid = (texts(written)[row], written.targets[row].tolist()), written.valid[row]  # type: ignore[index]
            completion = text[len(prompt) :]
            assert text[: len(prompt)] == prompt.tolist()
            assert [t for t in targets if t != N] == completion
            assert int(valid.sum()) == len(completion) <= 8
            assert not valid[: len(prompt) - 1].any()
            assert END not in completion[:-1]
            assert len(completion) == 8 or completion[-1] == END
            assert max(completion) < 12


def test_the_share_of_batches_that_are_written() -> None:
    student = network(0)
    written = sum(OnPolicy(0.25, 1, 1.0, END, seed=3)(PADDED, student, step).written for step in range(200))
    assert 30 <= written <= 70
    assert OnPolicy(0.0, 1, 1.0, END, seed=3)(PADDED, student, 0) is PADDED
    assert OnPolicy(1.0, 4, 1.0, END, seed=3)(PADDED, network(0, positions=3), 0) is PADDED  # no room to write


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 9.0])  # the last is no token
    drawn = SeededSampling(list(range(4000)), 2.0, 3)(torch.empty(0), logits.expand(4000, 4)).argmax(1)
    share = drawn.bincount(minlength=4) / 4000
    torch.testing.assert_close(share[:3], (logits[:3] / 2).softmax(0), atol=0.03, rtol=0)
    assert share[3] == 0
    assert SeededSampling([0], 0.0, 3)(torch.empty(0), logits[None]).argmax() == 2


@pytest.mark.parametrize("method", [KD(label_weight=1.0), LogitMSE(label_weight=1.0)])
def test_its_own_tokens_are_no_labels(method: KD) -> None:
    module = DistillModule(network(0), network(1), method, task=LanguageModelling())
    written = OnPolicy(1.0, 6, 1.0, END, seed=0)(PADDED, module.student, 0)
    assert module.teacher is not None
    terms = module.method(module.student(written.inputs), module.teacher(written), written)
    values = {name: float(value.detach()) for name, value in terms.items()}
    assert values.pop("ce") == 0
    assert min(values.values()) > 0
    terms.total().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.student.parameters())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["on_policy=3"], "on_policy=3: must be told how much; give on_policy.fraction=0.5"),
        (["on_policy.fraction=2"], "on_policy.fraction=2: must be a share of the batches, from 0 to 1"),
        (["on_policy.max_new_tokens=0"], "on_policy.max_new_tokens=0: must be 1 or more"),
        (["on_policy.temperature=0"], "on_policy.temperature=0: must be above 0"),
        (["on_policy.fraction=0.5"], "on_policy.fraction=0.5: is for language models, which write texts; digits has"),
        (
            ["on_policy.fraction=0.5", "data=standard_library", "teaching=cached"],
            "on_policy.fraction=0.5: .* teaching=cached keeps answers to the data: use teaching=live",
        ),
    ],
)
def test_what_cannot_be_is_one_line(overrides: list[str], said: str, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides)
    with pytest.raises(SettingError, match=said) as caught:
        prepare(parse(config), tmp_path)
    assert "\n" not in str(caught.value)
