"""Checks of checkpoints before any graph is built: readable to the last byte, complete, the right shapes, the right type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import numpy as np

from tf_fastbert import ops
from tf_fastbert.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from tf_fastbert.weights import GOOGLE_NAMES, check_checkpoint_dtype
from tf_fastbert.wrap import quantized
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.inputs import BertSizes
from tf_fastbert.wrap.quantized import Wanted
from tf_fastbert.wrap.scripts import Script


def bert_variables(sizes: BertSizes, *, pooler: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables of Google's BertModel."""
    encoder = sizes.encoder
    hidden = encoder.hidden_size
    variables: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (sizes.vocab_size, hidden),
        "bert/embeddings/token_type_embeddings": (sizes.type_vocab_size, hidden),
        "bert/embeddings/position_embeddings": (sizes.max_position_embeddings, hidden),
        "bert/embeddings/LayerNorm/beta": (hidden,),
        "bert/embeddings/LayerNorm/gamma": (hidden,),
    }
    shapes = ops.weight_shapes(hidden, encoder.intermediate_size)._asdict()
    for i in range(encoder.num_hidden_layers):
        variables.update({f"bert/encoder/layer_{i}/{GOOGLE_NAMES[field]}": shape for field, shape in shapes.items()})
    if pooler:
        variables.update({"bert/pooler/dense/kernel": (hidden, hidden), "bert/pooler/dense/bias": (hidden,)})
    return variables


def check_for_inference(
    path: str, flag: str, script: Script, sizes: BertSizes, num_labels: int | None, floatx: str, *, restored: bool,
    wanted: Wanted = Wanted(),
) -> str:
    """Checks that a checkpoint can answer: all variables are there, with the configuration's shapes, in `floatx`, undamaged.

    Args:
      path: what find_checkpoint takes.
      flag: where the path comes from, for messages.
      num_labels: of the classifier's head; None if not known, then the head is not checked.
      restored: the Estimator restores all its variables from it (a trained checkpoint in --output_dir), not only BERT's and the
        head's.
      wanted: how the model is quantized.

    Returns:
      The checkpoint's prefix.

    Raises:
      WrapError: naming the file and the first variable that is wrong.
    """
    checkpoint = _open(path, flag)
    quantized.check(checkpoint, flag, wanted, sizes.encoder)
    head = script.head(sizes.encoder.hidden_size, num_labels)
    needed = {**bert_variables(sizes, pooler=script.pooler or restored), **head, **({"global_step": ()} if restored else {})}
    needed.update(wanted.variables(sizes.encoder))
    missing = [name for name in needed if name not in checkpoint.variables]
    if missing:
        if missing == list(head):
            advice = (
                "the model has not been fine-tuned for this script, its answers would be random: train it with --do_train=true"
            )
        else:
            near = difflib.get_close_matches(missing[0], set(checkpoint.variables) - set(needed), n=1, cutoff=0.8)
            advice = f"it has {near[0]} instead" if near else "it belongs to another model, or to another bert_config.json"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WrapError(f"{flag}={checkpoint.prefix}: variable {missing[0]}{more} missing: {advice}")
    _check_shapes(checkpoint, flag, needed)
    _check_dtype(checkpoint, flag, head, floatx)
    for name in needed:  # reading is what verifies the checksums
        _read(checkpoint, flag, name)
    return checkpoint.prefix


def check_for_training(
    path: str, flag: str, script: Script, sizes: BertSizes, num_labels: int | None, wanted: Wanted = Wanted()
) -> tuple[str, list[str]]:
    """Checks that training can start from a checkpoint: float32, and the right shapes as far as there are variables.

    Returns:
      The checkpoint's prefix, and the names of BERT's variables that it lacks: Google's code starts those at random.
    """
    checkpoint = _open(path, flag)
    quantized.check(checkpoint, flag, wanted, sizes.encoder)
    needed = bert_variables(sizes, pooler=True)
    head = script.head(sizes.encoder.hidden_size, num_labels)
    present = {name: shape for name, shape in {**needed, **head}.items() if name in checkpoint.variables}
    _check_shapes(checkpoint, flag, present)
    _check_dtype(checkpoint, flag, head.keys() & present, "float32")
    for name in present:
        _read(checkpoint, flag, name)
    return checkpoint.prefix, [name for name in needed if name not in present]


def _check_dtype(checkpoint: Checkpoint, flag: str, head: Iterable[str], floatx: str) -> None:
    try:
        check_checkpoint_dtype(checkpoint.prefix, floatx)
    except ValueError as error:
        raise WrapError(f"{flag}: {error}") from error
    for name in head:
        dtype = checkpoint.variables[name].dtype.name
        if dtype != floatx:
            raise WrapError(
                f"{flag}={checkpoint.prefix}: variable {name} is {dtype}, but BERT's variables are {floatx}: convert the whole "
                "checkpoint with tools/ckpt_type_convert.py"
            )


def float_type(path: str) -> str:
    """The type of a checkpoint's word embeddings: float32, float16 or bfloat16."""
    return Checkpoint(path).variables["bert/embeddings/word_embeddings"].dtype.name


def write_float32_copy(path: str, copy: str) -> None:
    """Writes the checkpoint `path` to the prefix `copy` with its 16-bit variables in float32, which is exact, and int8
    kernels too."""
    checkpoint = Checkpoint(path)
    tensors = quantized.dequantized({name: checkpoint.read(name) for name in checkpoint.variables})
    write_checkpoint(
        copy,
        {
            name: value.astype(np.float32) if value.dtype.name in ("float16", "bfloat16") else value
            for name, value in tensors.items()
        },
    )


def _open(path: str, flag: str) -> Checkpoint:
    try:
        return Checkpoint(path)
    except CheckpointError as error:
        raise WrapError(f"{flag}: {error}") from error


def _read(checkpoint: Checkpoint, flag: str, name: str) -> None:
    try:
        checkpoint.read(name)
    except CheckpointError as error:
        raise WrapError(f"{flag}: {error}") from error


def _check_shapes(checkpoint: Checkpoint, flag: str, needed: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in needed.items():
        found = checkpoint.variables[name].shape
        if found != shape:
            raise WrapError(
                f"{flag}={checkpoint.prefix}: variable {name} has shape {list(found)}, but bert_config.json asks for "
                f"{list(shape)}"
            )
