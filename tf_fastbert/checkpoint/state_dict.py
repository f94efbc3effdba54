"""Reads the tensors of a PyTorch model directory: model.safetensors (also sharded) or pytorch_model.bin."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from tf_fastbert.checkpoint.errors import CheckpointError


class StateDict:
    """Name -> tensor of a PyTorch model, each read when it is asked for.

    Attributes:
      source: the file (or the index of the shards) they come from.
      names: all tensor names.
    """

    def __init__(self, source: str, readers: Mapping[str, Callable[[str], Any]]):
        self.source = source
        self.names = frozenset(readers)
        self._readers = readers

    def read(self, name: str) -> np.ndarray:
        """The tensor as stored; floats of any width become float32."""
        try:
            array = np.asarray(self._readers[name](name))
        except Exception as error:  # safetensors has its own exception types for each kind of damage
            raise CheckpointError(f"{self.source}: tensor {name} cannot be read ({error})") from error
        return array.astype(np.float32) if array.dtype.name in ("bfloat16", "float16", "float64") else array


@contextmanager
def open_state_dict(model_dir: str) -> Iterator[StateDict]:
    """Opens the weights in `model_dir`.

    Raises:
      CheckpointError: no weights there, a damaged file, or a .bin file and no torch to read it with.
    """
    path = _weights_file(model_dir)
    if path.endswith(".bin"):
        yield _from_torch(path)
        return
    with ExitStack() as stack:
        readers = {}
        for shard in _shards(path):
            handle = _open_safetensors(shard, stack)
            readers.update(dict.fromkeys(handle.keys(), handle.get_tensor))
        yield StateDict(path, readers)


def _weights_file(model_dir: str) -> str:
    names = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    for name in names:
        path = os.path.join(model_dir, name)
        if os.path.isfile(path):
            return path
    raise CheckpointError(f"no weights in {model_dir}: none of {', '.join(names)} is there")


def _from_torch(path: str) -> StateDict:
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path} can only be read with PyTorch, which is not installed: pip install torch, or use a model that has "
            "model.safetensors"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors alike
        raise CheckpointError(f"{path} cannot be read as a PyTorch state dict ({error})") from error

    def read(name: str) -> np.ndarray:
        tensor = tensors[name].detach()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    return StateDict(path, dict.fromkeys(tensors, read))


def _shards(path: str) -> list[str]:
    """The .safetensors files that make up `path`: itself, or those its index lists."""
    if not path.endswith(".index.json"):
        return [path]
    try:
        with open(path, encoding="utf-8") as file:
            names = set(json.load(file)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not the index of a sharded safetensors model ({error})") from error
    return [os.path.join(os.path.dirname(path), name) for name in sorted(names)]


def _open_safetensors(path: str, stack: ExitStack):
    try:
        import safetensors
    except ImportError as error:
        raise CheckpointError(f"reading {path} needs the safetensors package: pip install safetensors") from error
    try:
        return stack.enter_context(safetensors.safe_open(path, framework="numpy"))
    except Exception as error:  # FileNotFoundError, OSError or the package's own SafetensorError
        raise CheckpointError(f"{path} is missing, truncated or no safetensors file ({error})") from error
