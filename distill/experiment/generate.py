"""A teacher writes completions once, kept as data for data=chat: sequence-level distillation (1606.07947)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from distill.config.nodes import read
from distill.config.settings import GenerationSettings
from distill.data.language.readers import rows_of
from distill.data.language.tokenizer import tokenizer_of
from distill.errors import SettingError
from distill.files import write_atomically
from distill.log import only_warnings
from distill.models.causal_lm import CausalLM, causal_lm
from distill.models.writing import write_completions
from distill.seeding import derive_seed


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is to be written on.

    row: of the file: `messages`, up to the last turn of the assistant, or `prompt`.
    ids: (P,) int64.
    """

    row: Mapping[str, Any]
    ids: Tensor

    def with_completion(self, text: str) -> dict[str, Any]:
        """A row that data=chat reads."""
        if "messages" in self.row:
            return {"messages": [*self.row["messages"], {"role": "assistant", "content": text}]}
        return {"prompt": self.row["prompt"], "completion": text}


def generate(config: DictConfig) -> Path:
    """Write a JSONL file with a teacher's completion of each prompt of another.

    A completion that has not ended after `max_new_tokens` is left out: a student that learns it would learn to stop
    where it was cut; an empty one is left out too. How many is said.

    Args:
        config: what configs/generate.yaml composes.

    Raises:
        SettingError: no such model or file, a row without a prompt, a prompt that leaves no room, no completion ended.
    """
    only_warnings()
    settings = read(config, "", GenerationSettings)
    tokenizer = tokenizer_of(settings.path, settings.gguf_file)
    prompts = _prompts(Path(settings.input), tokenizer)
    model: Any = causal_lm(num_classes=len(tokenizer), path=settings.path, gguf_file=settings.gguf_file)
    longest = max(len(prompt.ids) for prompt in prompts)
    if longest + settings.max_new_tokens > model.positions:
        raise SettingError(
            f"max_new_tokens={settings.max_new_tokens}: the longest prompt has {longest} tokens, and the model "
            f"{model.positions} positions; must be {max(0, model.positions - longest)} or less"
        )
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    written: list[int] = []
    output = Path(settings.output)
    write_atomically(output, lambda path: written.append(_write(path, prompts, model, tokenizer, settings)))
    print(f"{written[0]:,} completions, {len(prompts) - written[0]:,} left out, empty or not ended")
    print(output)
    return output


def _write(path: Path, prompts: list[Prompt], model: CausalLM, tokenizer: Any, settings: GenerationSettings) -> int:
    """The file; how many completions it has."""
    count, device = 0, next(model.parameters()).device
    end = tokenizer.eos_token_id
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(prompts), settings.batch_size):
            batch = prompts[start : start + settings.batch_size]
            seeds = [derive_seed(settings.seed, "generate", start + place) for place in range(len(batch))]
            given = [prompt.ids.to(device) for prompt in batch]
            found = write_completions(model, given, seeds, settings.max_new_tokens, settings.temperature, end)
            for prompt, ids in zip(batch, found, strict=True):
                if int(ids[-1]) == end and len(ids) > 1:
                    row = prompt.with_completion(tokenizer.decode(ids[:-1], skip_special_tokens=True))
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
            print(f"{min(len(prompts), start + len(batch)):,} of {len(prompts):,} prompts", flush=True)
    if not count:
        raise SettingError(
            f"max_new_tokens={settings.max_new_tokens}: not one of {len(prompts)} completions ended before; raise it"
        )
    return count


def _prompts(file: Path, tokenizer: Any) -> list[Prompt]:
    if not file.is_file():
        raise SettingError(f"input={file}: no such file; must be JSONL or Parquet")
    found = [_prompt(row, f"{file}, line {number}", tokenizer) for number, row in rows_of(file)]
    if not found:
        raise SettingError(f"input={file}: holds no rows")
    return found


def _prompt(row: Mapping[str, Any], where: str, tokenizer: Any) -> Prompt:
    messages, prompt = row.get("messages"), row.get("prompt")
    if isinstance(messages, list) and messages and tokenizer.chat_template:
        said = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
        context = messages[: said[-1]] if said else messages
        text = tokenizer.apply_chat_template(context, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prompt({"messages": context}, torch.tensor(ids))
    if isinstance(prompt, str) and prompt:
        return Prompt({"prompt": prompt}, torch.tensor(tokenizer(prompt)["input_ids"]))
    raise SettingError(
        f"{where}: must have `prompt`, or `messages` where the tokenizer has a chat template; it has "
        f"{', '.join(map(repr, row)) or 'nothing'}"
    )
