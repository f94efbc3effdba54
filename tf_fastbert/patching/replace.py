"""Which attributes the patch replaces, and how they come back."""

from __future__ import annotations

import logging
import threading
import types
from typing import Any, NamedTuple

from tf_fastbert.patching import activations, assignment, embedding, mask, model, padding, transformer
from tf_fastbert.patching.options import Options

# Reentrant, because patched() holds it around patch().
LOCK = threading.RLock()

_STATE = "_tf_fastbert_patch"
_ABSENT = object()


class _Replaced(NamedTuple):
    owner: Any
    name: str
    original: Any  # _ABSENT if the owner itself had none
    replacement: Any


class _State(NamedTuple):
    options: Options
    replaced: tuple[_Replaced, ...]


def options_of(modeling: types.ModuleType) -> Options | None:
    """The options that `modeling` is patched with, or None."""
    state = vars(modeling).get(_STATE)
    return state.options if state else None


def apply(modeling: types.ModuleType, options: Options) -> None:
    """Patches. What a former patch replaced comes back first, so that originals are never replacements."""
    _check_module(modeling)
    if options.run_squad is not None:
        padding.check_module(options.run_squad)
    state = vars(modeling).get(_STATE)
    if state and state.options == options and all(map(_in_place, state.replaced)):
        return
    restore(modeling)
    bert_model = modeling.BertModel
    replacements = [
        (modeling, "transformer_model", transformer.make_transformer_model(modeling, options)),
        (modeling, "create_attention_mask_from_input_mask", mask.make_create_attention_mask(modeling)),
        (modeling, "get_activation", activations.make_get_activation(modeling)),
        (bert_model, "__init__", model.make_init(bert_model, options)),
        (bert_model, "get_all_encoder_layers", model.make_get_all_encoder_layers(bert_model)),
        (modeling, "embedding_lookup", embedding.make_embedding_lookup(modeling, options)),
        (modeling, "embedding_postprocessor", embedding.make_embedding_postprocessor(modeling, options)),
    ]
    if options.quant_mode:
        replacements.append(
            (modeling, "get_assignment_map_from_checkpoint", assignment.make_get_assignment_map(modeling))
        )
    if options.run_squad is not None:
        replacements.append((options.run_squad, "create_model", padding.make_create_model(options.run_squad)))
    replaced = tuple(_Replaced(owner, name, vars(owner).get(name, _ABSENT), new) for owner, name, new in replacements)
    for item in replaced:
        setattr(item.owner, item.name, item.replacement)
    setattr(modeling, _STATE, _State(options, replaced))


def restore(modeling: types.ModuleType) -> None:
    """Undoes apply(), if it was done."""
    state = vars(modeling).get(_STATE)
    if state is None:
        return
    for item in state.replaced:
        if not _in_place(item):
            logging.getLogger("tf_fastbert").warning(
                "unpatch: %s.%s was replaced by somebody else after patch(); it is left as it is", item.owner.__name__, item.name
            )
        elif item.original is _ABSENT:
            delattr(item.owner, item.name)
        else:
            setattr(item.owner, item.name, item.original)
    delattr(modeling, _STATE)


def _in_place(item: _Replaced) -> bool:
    return vars(item.owner).get(item.name) is item.replacement


def _check_module(modeling: types.ModuleType) -> None:
    if not isinstance(modeling, types.ModuleType):
        raise TypeError(f"expected Google's modeling module, not {modeling!r}")
    needed = (
        "BertModel",
        "create_attention_mask_from_input_mask",
        "embedding_lookup",
        "embedding_postprocessor",
        "gelu",
        "get_activation",
        "get_assignment_map_from_checkpoint",
        "get_shape_list",
        "transformer_model",
    )
    missing = [name for name in needed if not hasattr(modeling, name)]
    if missing:
        raise ValueError(f"{modeling.__name__} is not Google's modeling module: it has no {', '.join(missing)}")
