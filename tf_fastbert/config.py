"""bert_config.json, read and checked."""

# mypy: disable-error-code=misc
from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

# hidden_act in bert_config.json -> the op's attribute `activation`. "gelu" is Google's, the tanh form.
ACTIVATIONS = {"gelu": "gelu_tanh", "gelu_tanh": "gelu_tanh", "gelu_erf": "gelu_erf", "relu": "relu"}
MAX_SIZE_PER_HEAD = 128

_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """What the encoder needs of bert_config.json. Keys that it does not need are ignored."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12  # Google's file has no such key; tools/ckpt_from_huggingface.py writes it where it differs

    @property
    def size_per_head(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def activation(self) -> str:
        """The op's attribute `activation`."""
        return ACTIVATIONS[self.hidden_act.lower()]

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> BertConfig:
        """Reads bert_config.json.

        Raises:
          OSError: there is no such file.
          ValueError: it is no JSON object, or see from_dict; the message names the file.
        """
        with open(path, encoding="utf-8") as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise ValueError(f"{path}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: must hold a JSON object, not a {type(content).__name__}")
        return cls.from_dict(content, source=str(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "bert_config") -> BertConfig:
        """Checks a parsed bert_config.json.

        Raises:
          ValueError: a key is missing, a size is not a positive integer, the head size or the activation is not supported. The
            message starts with `source`.
        """
        missing = [key for key in _SIZES if key not in content]
        if missing:
            raise ValueError(f"{source}: {', '.join(missing)} missing")
        for key in _SIZES:
            if not is_size(content[key]):
                raise ValueError(f"{source}: {key} must be a positive integer, not {content[key]!r}")
        hidden_act = content.get("hidden_act", cls.hidden_act)
        if not isinstance(hidden_act, str) or hidden_act.lower() not in ACTIVATIONS:
            raise ValueError(f"{source}: hidden_act {hidden_act!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
        try:
            check_heads(content["hidden_size"], content["num_attention_heads"])
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        epsilon = content.get("layer_norm_eps", cls.layer_norm_eps)
        if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < 1:
            raise ValueError(f"{source}: layer_norm_eps must be a number between 0 and 1, not {epsilon!r}")
        return cls(*(content[key] for key in _SIZES), hidden_act=hidden_act, layer_norm_eps=float(epsilon))


def config_of(checkpoint: str, config: BertConfig | str | os.PathLike | None) -> BertConfig:
    """The config of a checkpoint, given by its prefix: `config`, or read from that path, or from the bert_config.json beside it.

    Raises:
      ValueError: there is none beside it, or see BertConfig.from_file.
      OSError: the file cannot be read.
    """
    if config is None:
        config = os.path.join(os.path.dirname(checkpoint), "bert_config.json")
        if not os.path.isfile(config):
            raise ValueError(f"checkpoint {checkpoint} has no bert_config.json beside it: give its path as config")
    return config if isinstance(config, BertConfig) else BertConfig.from_file(config)


def is_size(value: Any) -> bool:
    """Whether `value` is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_heads(hidden_size: int, num_attention_heads: int) -> int:
    """Returns the size per head.

    Raises:
      ValueError: hidden_size is not a multiple of the number of heads, or the size per head is odd or above 128.
    """
    if hidden_size % num_attention_heads:
        # Google's words, because some catch them.
        raise ValueError(
            f"The hidden size ({hidden_size}) is not a multiple of the number of attention heads ({num_attention_heads})"
        )
    size_per_head = hidden_size // num_attention_heads
    if size_per_head % 2 or size_per_head > MAX_SIZE_PER_HEAD:
        raise ValueError(
            f"the size per head ({hidden_size} / {num_attention_heads} heads = {size_per_head}) is not supported: it must be "
            f"even and at most {MAX_SIZE_PER_HEAD}"
        )
    return size_per_head
