"""A language model as `transformers` keeps it: a directory for from_pretrained, tokenizer included."""

import copy
import shutil
import tempfile
from pathlib import Path

import torch

from distill.data.language.tokenizer import tokenizer_of
from distill.data.token_format import TokenFormat
from distill.errors import SettingError
from distill.losses.logits import gap
from distill.models.adapters import merge
from distill.models.causal_lm import CausalLM
from distill.models.network import Network

TOLERANCE = 1e-4  # between the logits of the student and of what is read again, relative to their size


def export_hf(network: Network, form: object, target: Path) -> Path:
    """Write a directory that AutoModelForCausalLM and AutoTokenizer read, adapters merged, and compare its logits.

    Args:
        network: a finished run's student.
        form: what its samples were.
        target: a directory that isn't there yet.

    Raises:
        SettingError: another kind of network, a directory that is there, or logits that differ once it is read again.
    """
    if not isinstance(network.backbone, CausalLM) or not isinstance(form, TokenFormat):
        raise SettingError(
            f"format=hf: {network.name} is no model of transformers; choose format=safetensors, onnx or pt2"
        )
    if target.exists():
        raise SettingError(f"output={target}: is there already; give another directory, or remove it")
    from transformers import AutoModelForCausalLM

    ids = torch.arange(8).unsqueeze(0) % network.backbone.tokens
    with torch.no_grad():
        expected = network.eval()({"input_ids": ids}).made().movedim(1, -1)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as place:
        written = Path(place) / "model"
        merge(copy.deepcopy(network.backbone.model)).save_pretrained(written)
        tokenizer_of(form.tokenizer or None, form.gguf_file).save_pretrained(written)
        again = AutoModelForCausalLM.from_pretrained(written, local_files_only=True, dtype=torch.float32)
        with torch.no_grad():
            found = again(input_ids=ids, use_cache=False).logits[..., : network.backbone.tokens]
        difference = float(gap(found, expected))
        if not difference <= TOLERANCE:
            raise SettingError(f"format=hf: read again, its logits differ by {difference:.2g} of their size")
        shutil.move(written, target)
    said = f"differ by at most {difference:.1g} of their size" if difference else "are the same"
    print(f"parity: logits read again {said}")
    print(target)
    return target
