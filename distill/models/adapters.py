"""Low-rank adapters on networks, by peft; and what an output layer with one on it computes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from distill.errors import SettingError, first_line


def adapted(model: Any, lora: Mapping[str, Any]) -> Any:
    """The model with adapters, which alone are trained.

    lora: arguments of `peft.LoraConfig`.

    Raises:
        SettingError: peft is not installed, or refuses the arguments.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise SettingError('lora needs a package that is not installed: pip install -e ".[language]"') from error
    try:
        changed = inject_adapter_in_model(LoraConfig(**{"target_modules": "all-linear", **lora}), model)
    except Exception as error:
        raise SettingError(f"lora={dict(lora)}: {first_line(error)}") from error
    for name, parameter in changed.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return changed


def effective_weight(layer: Any) -> Tensor:
    """The weight of a linear layer, with what an adapter on it adds: its gradient reaches the adapter.

    Raises:
        SettingError: an adapter that does more than add a product of two matrices.
    """
    weight: Tensor = layer.weight
    if not hasattr(layer, "lora_A") or layer.merged or layer.disable_adapters:
        return weight
    for name in layer.active_adapters:
        if name not in layer.lora_A:
            continue
        if layer.use_dora.get(name) or (layer.training and getattr(layer.lora_dropout[name], "p", 0) > 0):
            raise SettingError(
                "lora: on the output layer, DoRA and dropout are more than a product of two matrices, and its logits "
                "are worked out in chunks; leave both out, or lm_head out of target_modules"
            )
        weight = weight + layer.get_delta_weight(name)
    return weight


def merge(model: Any) -> Any:
    """The model with its adapters added to its weights, in place, and without them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in [*model.named_modules()]:
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(path, module.get_base_layer())
    return model
