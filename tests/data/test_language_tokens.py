"""Text to tokens for language models: what is learned, what is cut, what shares a block."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.language.blocks import Blocks
from distill.data.language.conversations import (
    assistant_spans,
    encode_completion,
    encode_conversation,
    encode_document,
    fitted,
)
from distill.data.language.encoded import IGNORED, Encoded
from distill.data.language.packing import pack
from distill.data.language.tokenizer import END, byte_tokenizer
from distill.errors import SettingError

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4 é"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def learned(tokenizer, encoded):
    """What is to be predicted, decoded; a gap stands between what does not lie together."""
    runs, last = [], None
    for place in encoded.counts.nonzero().flatten().tolist():
        if last is not None and place == last + 1:
            runs[-1].append(int(encoded.ids[place]))
        else:
            runs.append([int(encoded.ids[place])])
        last = place
    return [tokenizer.decode(run) for run in runs]


def test_bytes_come_back(tokenizer):
    text = "def f():\n\treturn 'é ☃'\r\n"
    assert len(tokenizer) == 257
    assert len(tokenizer(text)["input_ids"]) == len(text.encode())
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_assistant_turn_counts_with_the_token_that_ends_it_even_where_it_pads_too(tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    encoded = encode_conversation(tokenizer, CONVERSATION)
    assert learned(tokenizer, encoded) == [f"Hello.{END}", f"4 é{END}"]


def test_targets_and_their_mask_move_together(tokenizer):
    encoded = encode_conversation(tokenizer, CONVERSATION)
    kept = encoded.targets != IGNORED
    assert torch.equal(encoded.targets[kept], encoded.ids[encoded.counts])
    first = int(kept.nonzero()[0])  # the last character of the prompt predicts the first of the answer
    assert tokenizer.decode([int(encoded.ids[first])]) == ">"
    assert tokenizer.decode([int(encoded.targets[first])]) == "H"


def test_all_of_a_conversation_if_asked(tokenizer):
    assert encode_conversation(tokenizer, CONVERSATION, everything=True).counts.all()


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    other = byte_tokenizer()
    other.chat_template = (
        "{% for m in messages %}{% if m['role'] != 'assistant' or loop.last %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(SettingError, match=r"writes earlier turns otherwise once others follow \(at message 3\)"):
        assistant_spans(other, CONVERSATION)


def test_no_template_no_messages(tokenizer):
    other = byte_tokenizer()
    other.chat_template = None
    with pytest.raises(SettingError, match="no chat template"):
        encode_conversation(other, CONVERSATION)


def test_a_completion_counts_with_its_end(tokenizer):
    assert learned(tokenizer, encode_completion(tokenizer, "2 + 2 = ", "4")) == [f"4{END}"]


def test_a_document_ends(tokenizer):
    encoded = encode_document(tokenizer, "abc")
    assert tokenizer.decode(encoded.ids) == f"abc{END}"
    assert encoded.counts.all()


def test_what_is_cut_is_the_end_and_what_has_nothing_left_is_dropped(tokenizer):
    samples = [encode_completion(tokenizer, "p" * prompt, "c" * 5) for prompt in (2, 6, 9, 40)]
    kept, cut, dropped = fitted(samples, 8)
    assert (kept, cut, dropped) == ([0, 1], 1, 2)
    blocks = Blocks.of([samples[place].cut(9) for place in kept], 8, packed=False)
    batch = blocks.batch(torch.arange(2))
    assert tokenizer.decode(batch.inputs["input_ids"][1, :8]) == "ppppppcc"
    assert tokenizer.decode(batch.targets[1][batch.valid[1]]) == "ccc"


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 16), max_size=60))
def test_packing_shows_every_piece_once_in_blocks_that_hold_them(lengths):
    blocks = pack(lengths, 16)
    assert sorted(piece for block in blocks for piece in block) == list(range(len(lengths)))
    assert all(sum(lengths[piece] for piece in block) <= 16 for block in blocks)
    assert len(blocks) <= 2 * max(1, -(-sum(lengths) // 16))


def test_each_token_of_a_long_document_is_predicted_once():
    document = Encoded.of(list(range(23)))
    blocks = Blocks.of([document], 5, packed=False)
    assert blocks.next_ids.tolist() == list(range(1, 23))
    assert blocks.ids.tolist() == list(range(22))
    assert blocks.targets.shape == (5, 5)


def test_a_block_in_training():
    blocks = Blocks.of([Encoded.of([1, 2, 3]), Encoded.of([4, 5]), Encoded.of([6, 7, 8, 9])], 6, packed=True)
    assert len(blocks) == 1
    batch = blocks.batch(torch.tensor([0]))
    assert batch.inputs["input_ids"].tolist() == [[1, 2, 4, 6, 7, 8]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 0, 0, 1, 2]]
    assert batch.targets.tolist() == [[2, 3, 5, 7, 8, 9]]
    wider = Blocks.of([Encoded.of([1, 2, 3]), Encoded.of([4, 5])], 6, packed=True).batch(torch.tensor([0]))
    assert wider.inputs["input_ids"].tolist() == [[1, 2, 4, 0, 0, 0]]
    assert wider.inputs["position_ids"].tolist() == [[0, 1, 0, 0, 1, 2]]
    assert wider.valid.tolist() == [[True, True, True, False, False, False]]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packed_pieces_see_themselves_alone(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = (
        transformers.LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
        )
        if kind == "llama"
        else transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    )
    network = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    documents = [Encoded.of(torch.randint(50, (n,)).tolist()) for n in (9, 3, 20, 7, 2)]

    def loss_and_gradient(packed):
        blocks = Blocks.of(documents, 16, packed=packed)
        batch = blocks.batch(torch.arange(len(blocks)))
        network.zero_grad()
        logits = network(**batch.inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[batch.valid], batch.targets[batch.valid])
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in network.parameters()]

    for found, expected in zip(loss_and_gradient(True), loss_and_gradient(False), strict=True):
        torch.testing.assert_close(found, expected)
