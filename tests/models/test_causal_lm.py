"""Causal language models of transformers: built, cut, adapted, and their heads read."""

import pytest
import torch

from distill.data.language.tokenizer import byte_tokenizer
from distill.errors import SettingError
from distill.losses import LinearTeacher, linear_divergence
from distill.models.adapters import effective_weight, merge
from distill.models.causal_lm import CausalLM, causal_lm
from distill.models.preprocessing import preprocessing_of

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
IDS = torch.tensor([[1, 5, 3, 8, 2], [4, 4, 9, 0, 7]])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=12, max_position_embeddings=32, **SMALL)
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def own_logits(network):
    return network.model(input_ids=IDS, use_cache=False).logits[..., : network.tokens]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("gemma2", {"final_logit_softcapping": 0.01, "head_dim": 8}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 4.0}),
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}),
        ("phi", {}),  # a head with a bias
    ],
)
def test_heads_with_scales_bounds_and_biases_are_read(name, more):
    torch.manual_seed(0)
    settings = more if name == "gpt2" else {**SMALL, "num_key_value_heads": 2, "num_hidden_layers": 1, **more}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(name, vocab_size=12, **settings, **special)
    network = CausalLM(transformers.AutoModelForCausalLM.from_config(config), 12).eval()
    torch.testing.assert_close(network(IDS).logits(), own_logits(network).flatten(0, 1))


def test_a_head_that_does_something_else_is_refused(saved):
    network = causal_lm(num_classes=12, path=saved)
    network.model.lm_head.register_forward_hook(lambda _module, _inputs, output: output.sin())
    with pytest.raises(SettingError, match=r"LlamaForCausalLM: its logits are not a linear layer"):
        CausalLM(network.model, 12)


def test_a_padded_head_answers_for_the_tokens_alone(saved):
    network = causal_lm(num_classes=10, path=saved)
    assert network(IDS).classes == 10
    with pytest.raises(SettingError, match=r"12 outputs, and the tokenizer 13 tokens"):
        causal_lm(num_classes=13, path=saved)


def test_another_tokenizer_is_told_with_the_first_difference(saved, tmp_path):
    bytewise = byte_tokenizer()
    config = transformers.LlamaConfig(vocab_size=260, max_position_embeddings=32, **SMALL)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    bytewise.save_pretrained(tmp_path / "model")
    assert (
        causal_lm(num_classes=257, path=str(tmp_path / "model"), tokenizer="").tokens == 257
    )  # bytes, and a wider head
    bytewise.chat_template = "other"
    bytewise.save_pretrained(tmp_path / "same")
    assert causal_lm(num_classes=257, path=str(tmp_path / "model"), tokenizer=str(tmp_path / "same")).tokens == 257
    bytewise.add_tokens(["quick"])
    bytewise.save_pretrained(tmp_path / "other")
    told = r"its tokenizer is not that of data.tokenizer=.*other.*: token 4 of 'The quick .* is \d+ \('q'\) and 257 "
    with pytest.raises(SettingError, match=told) as caught:
        causal_lm(num_classes=257, path=str(tmp_path / "model"), tokenizer=str(tmp_path / "other"))
    assert "\n" not in str(caught.value)
    assert causal_lm(num_classes=12, path=saved, tokenizer="").tokens == 12  # which has none of its own


def test_some_layers_of_the_teacher(saved):
    teacher = causal_lm(num_classes=12, path=saved)
    student = causal_lm(num_classes=12, layers=[0, 2], base_path=saved)
    for place, layer in enumerate((0, 2)):
        ours, theirs = (network.model.model.layers[i] for network, i in ((student, place), (teacher, layer)))
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    assert torch.equal(student.model.lm_head.weight, teacher.model.lm_head.weight)
    assert len(student.model.model.layers) == 2
    with pytest.raises(SettingError, match=r"layers=\[0, 3\]: must be different numbers from 0 to 2"):
        causal_lm(num_classes=12, layers=[0, 3], base_path=saved)


def test_what_differs_from_the_teacher_and_what_is_kept_builds_it_again(saved):
    student = causal_lm(num_classes=12, config={"hidden_size": 8, "num_hidden_layers": 1}, base_path=saved)
    assert student.model.config.hidden_size == 8
    assert student.model.config.max_position_embeddings == 32
    again = causal_lm(num_classes=12, **preprocessing_of(student).untrained)
    again.load_state_dict(student.state_dict())
    torch.testing.assert_close(again(IDS).logits(), student(IDS).logits())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"path": "/nowhere"}, "path=/nowhere: no such directory"),
        ({}, "path=null: give the directory"),
        ({"config": {"hidden_size": 7}}, "config=.*makes no such model"),
        (
            {"config": {**SMALL, "max_position_embeddings": 8}, "max_length": 9},
            "block_size=9: the model has 8 positions",
        ),
        ({"layers": [0]}, "has no path to read them of"),
    ],
)
def test_what_is_said(given, says):
    with pytest.raises(SettingError, match=says):
        causal_lm(num_classes=12, **given)


def test_an_adapter_on_the_head_gets_its_gradient_and_is_merged(saved):
    torch.manual_seed(0)
    network = causal_lm(num_classes=12, path=saved, lora={"r": 2, "target_modules": ["q_proj", "lm_head"]})
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)  # zeros, as they begin, hide what A would get
    torch.testing.assert_close(network(IDS).logits(), own_logits(network).flatten(0, 1))
    projection = network(IDS)
    linear_divergence(
        projection.hidden, projection.weight, LinearTeacher(torch.randn(2, 5, 4), torch.randn(12, 4))
    ).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters() if parameter.requires_grad)
    expected = network(IDS).logits()
    merged = CausalLM(merge(network.model), 12)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(merged(IDS).logits(), expected)


def test_dropout_in_an_adapter_on_the_head_is_refused(saved):
    network = causal_lm(num_classes=12, path=saved, lora={"target_modules": ["lm_head"], "lora_dropout": 0.1})
    with pytest.raises(SettingError, match="DoRA and dropout"):
        effective_weight(network.train().model.lm_head)
