"""export_saved_model: a checkpoint in Google's format becomes a SavedModel."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_fastbert import ops
from tf_fastbert.export import checkpoint as checkpoints
from tf_fastbert.export import folder as folders
from tf_fastbert.export import settings as settings_files
from tf_fastbert.export.model import ServedBert
from tf_fastbert.export.settings import ExportError, Settings
from tf_fastbert.patching.options import Options
from tf_fastbert.wrap import inputs as wrap_inputs
from tf_fastbert.wrap.errors import WrapError

# A graph is a protocol buffer, which ends at 2 GB; the rest of it takes little.
_MOST_CONSTANT_BYTES = 1_900_000_000
WEIGHTS = ("auto", "constants", "variables")


class Report(NamedTuple):
    """What was written."""

    path: str
    settings: Settings
    weights: str  # "constants" or "variables"
    num_weights: int
    weight_bytes: int
    signatures: dict[str, str]  # name -> its inputs and outputs in words


def export_saved_model(
    init_checkpoint: str | os.PathLike,
    bert_config_file: str | os.PathLike,
    vocab_file: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    task: str,
    floatx: str | None = None,
    int8_mode: int = 0,
    precision: str = "default",
    remove_padding: bool = True,
    labels: Sequence[str] | None = None,
    inputs: str = "ids",
    do_lower_case: bool = True,
    max_seq_length: int | None = None,
    max_query_length: int | None = None,
    doc_stride: int = 128,
    max_answer_length: int = 30,
    weights: str = "auto",
    with_library: bool = False,
    overwrite: bool = False,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> Report:
    """Writes a SavedModel; see docs/guide_serving.md for its signatures.

    Args:
      init_checkpoint: prefix or folder of the checkpoint: float32, float16, bfloat16, or from tools/ckpt_quantization.py.
      output_dir: the SavedModel's folder; for TensorFlow Serving it ends in a version, such as models/squad/1.
      task: "squad", "classifier" or "encoder".
      floatx: "float32", "float16" or "bfloat16": converts the weights; None: as stored.
      int8_mode, precision, remove_padding: see tf_fastbert.patch; an int8 or fp8 checkpoint must be of that kind.
      labels: names of a classifier's labels, in the order that run_classifier was trained with.
      inputs: "ids"; or "strings" for a further signature that takes text, which needs tensorflow-text.
      do_lower_case, max_seq_length (by default 384, or what the model can), max_query_length (64), doc_stride, max_answer_length:
        how text is cut, by that signature and by tools/batch_answer.py.
      weights: "constants" in the graph (fastest), "variables", or "auto": constants unless they are more than 1.9 GB.
      with_library: copy libtf_fastbert.so and oneDNN's library into assets.extra, so that the folder has all that it needs.
      overwrite: replace a SavedModel that is there.
      progress: wraps a list to iterate over, for a progress bar.

    Raises:
      ExportError: a file or an argument is wrong; then nothing is written.
      ImportError: the op library is missing or was built for another TensorFlow.
    """
    output_dir = os.path.abspath(os.fspath(output_dir))
    _check_choice("task", task, settings_files.TASKS)
    _check_choice("inputs", inputs, settings_files.INPUTS)
    _check_choice("weights", weights, WEIGHTS)
    folders.check_place(output_dir, overwrite=overwrite)
    if inputs == "strings":
        from tf_fastbert.export import strings

        strings.check()
    try:
        sizes = wrap_inputs.read_config(os.fspath(bert_config_file))
        wrap_inputs.check_vocab(os.fspath(vocab_file), sizes)
    except WrapError as error:
        raise ExportError(str(error)) from error
    ops.load_library()
    model = checkpoints.read(
        os.fspath(init_checkpoint), sizes, task, floatx=floatx, int8_mode=int8_mode, fp8=precision == "fp8", progress=progress
    )
    try:
        options = Options(model.floatx, remove_padding, precision, int8_mode=int8_mode)
    except (TypeError, ValueError) as error:
        raise ExportError(str(error)) from error
    if labels is not None and len(labels) != model.num_labels:
        have = f"the checkpoint has {model.num_labels}" if model.num_labels else f"a model for --task={task} has none"
        raise ExportError(f"--labels names {len(labels)} labels, but {have}")
    if max_seq_length is None:
        max_seq_length = min(384, sizes.max_position_embeddings)
    if max_query_length is None:  # Google's 64, unless the model is a tiny one
        max_query_length = 64 if max_seq_length > 67 else max_seq_length // 4
    settings = Settings(
        task=task,
        floatx=model.floatx,
        quantization=options.quantization,
        max_position_embeddings=sizes.max_position_embeddings,
        do_lower_case=do_lower_case,
        labels=tuple(labels) if labels is not None else None,
        num_labels=model.num_labels,
        inputs=inputs,
        max_seq_length=max_seq_length,
        max_query_length=max_query_length,
        doc_stride=doc_stride,
        max_answer_length=max_answer_length,
        tensorflow=tf.__version__,
    )
    settings_files.check_lengths(settings)
    size = sum(value.nbytes for value in model.weights.values())
    if weights == "constants" and size > _MOST_CONSTANT_BYTES:
        raise ExportError(f"--weights=constants: {size / 1e9:.2f} GB of weights do not fit a graph (2 GB): --weights=variables")
    as_variables = weights == "variables" or size > _MOST_CONSTANT_BYTES
    module = ServedBert(model.weights, sizes.encoder, task, options, as_variables=as_variables)
    signatures: dict[str, Any] = {"serving_default": module.concrete_function()}
    if inputs == "strings":
        signatures["strings"] = strings.signature(signatures["serving_default"], settings, os.fspath(vocab_file))
    with folders.written_at_once(output_dir, overwrite=overwrite) as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        _add_files(folder, settings, bert_config_file, vocab_file, with_library)
    return Report(
        output_dir,
        settings,
        "variables" if as_variables else "constants",
        len(model.weights),
        size,
        {name: _describe(function) for name, function in signatures.items()},
    )


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ExportError(f"--{name}={value}: it must be one of {', '.join(allowed)}")


def _add_files(folder: str, settings: Settings, bert_config_file: Any, vocab_file: Any, with_library: bool) -> None:
    extra = os.path.join(folder, settings_files.FOLDER)
    os.makedirs(extra, exist_ok=True)
    shutil.copyfile(bert_config_file, os.path.join(extra, settings_files.CONFIG))
    shutil.copyfile(vocab_file, os.path.join(extra, settings_files.VOCAB))
    settings_files.write_settings(folder, settings)
    if with_library:
        for path in (ops.library_path(), ops.onednn_path()):
            if path is None:
                raise ExportError("--with_library: oneDNN's libdnnl.so.3 was not found: pip install onednn-cpu-gomp==2023.2.0")
            shutil.copy(path, extra)


def _describe(function: Any) -> str:
    def words(specs: dict[str, Any]) -> str:
        return ", ".join(f"{name} {spec.dtype.name}{_shape(spec.shape)}" for name, spec in specs.items())

    arguments = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
    return f"{words(arguments)} -> {words(function.structured_outputs)}"


def _shape(shape: tf.TensorShape) -> str:
    if shape.rank is None:
        return "[...]"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
