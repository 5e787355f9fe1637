"""A network for texts as `transformers` keeps it: a directory for from_pretrained, tokenizer included."""

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from distill.data.language.tokenizer import tokenizer_of
from distill.data.token_format import TokenFormat
from distill.errors import SettingError
from distill.experiment.finished import NetworkRecord
from distill.losses.logits import gap
from distill.models.adapters import merge
from distill.models.causal_lm import CausalLM
from distill.models.network import Network

TOLERANCE = 1e-4  # between the logits of the student and of what is read again, relative to their size
SHOWN = "The quick brown fox jumps over the lazy dog. 0123456789"  # text on which they are compared


def export_hf(network: Network, record: NetworkRecord, target: Path) -> Path:
    """Write a directory for `transformers`, and compare the logits of what is read again.

    A language model is for AutoModelForCausalLM, its adapters merged; a classifier of texts for
    AutoModelForSequenceClassification, with the names of its classes. AutoTokenizer reads both.

    Args:
        network: a finished run's student.
        record: what the run keeps of it.
        target: a directory that isn't there yet.

    Raises:
        SettingError: another kind of network, a directory that is there, or logits that differ once it is read again.
    """
    form = record.format
    if not isinstance(form, TokenFormat):
        raise SettingError(
            f"format=hf: {network.name} is no model of transformers; choose format=safetensors, onnx or pt2"
        )
    if target.exists():
        raise SettingError(f"output={target}: is there already; give another directory, or remove it")
    model, auto = _model(network, record.classes)
    tokenizer = tokenizer_of(form.tokenizer or None, form.gguf_file)
    made = tokenizer(SHOWN, return_tensors="pt", truncation=True, max_length=form.max_length)
    inputs = {name: made[name] for name in (*form.columns, "attention_mask")}
    with torch.no_grad():
        expected = network.eval()(inputs).made()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as place:
        written = Path(place) / "model"
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        again = auto.from_pretrained(written, local_files_only=True, dtype=torch.float32).eval()
        with torch.no_grad():
            found = again(**inputs).logits
        if isinstance(network.backbone, CausalLM):
            found = found[..., : network.backbone.tokens].movedim(-1, 1)
        difference = float(gap(found, expected))
        if not difference <= TOLERANCE:
            raise SettingError(f"format=hf: read again, its logits differ by {difference:.2g} of their size")
        shutil.move(written, target)
    said = f"differ by at most {difference:.1g} of their size" if difference else "are the same"
    print(f"parity: logits read again {said}")
    print(target)
    return target


def _model(network: Network, classes: list[str]) -> tuple[Any, Any]:
    """A copy of the model within a network, and the class of `transformers` that reads it."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

    backbone = network.backbone
    if isinstance(backbone, CausalLM):
        return merge(copy.deepcopy(backbone.model)), AutoModelForCausalLM
    if not isinstance(backbone, PreTrainedModel):
        raise SettingError(f"format=hf: {network.name} is no model of transformers; choose format=safetensors")
    model: Any = copy.deepcopy(backbone)
    single = len(classes) == 1
    model.config.problem_type = "regression" if single else "single_label_classification"
    if not single:
        model.config.id2label = dict(enumerate(classes))
        model.config.label2id = {name: number for number, name in enumerate(classes)}
    return model, AutoModelForSequenceClassification
