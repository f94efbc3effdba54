"""Swaps the op into Google's modeling.py, and back.

    tf_fastbert.compat.install()        # what Google's modules import and TensorFlow 2 lacks
    from bert import modeling           # or a copy of google-research/bert: `import modeling`
    tf_fastbert.patch(modeling)         # BertModel(is_training=False, ...) now runs the op
    tf_fastbert.unpatch(modeling)       # every attribute is the object it was before

    with tf_fastbert.patched(modeling, floatx="float16"):
        model = modeling.BertModel(...)

The patch acts while a graph is built; a graph built under it stays as it is afterwards. Google's BertModel keeps running; what
is replaced is transformer_model, and around it as much as masks and 16-bit types need. The variables have Google's names and
shapes, so that checkpoints and tf.train.init_from_checkpoint work as before.

- Inference (is_training=False and no dropout) runs the op; training keeps the stock encoder and its gradients.
- Masks may have holes. The op needs the [B, S] mask, which it gets when the attention mask comes from modeling's own
  create_attention_mask_from_input_mask; a self-made [B, F, T] mask is refused, or left to the stock encoder
  (custom_mask="stock").
- Rows of the output that belong to padding are zero, so a head that looks at them sees its bias there. Google's run_squad looks
  at them: give it as patch(modeling, run_squad=run_squad).
- get_sequence_output() and get_all_encoder_layers() come from two ops, the second made when first asked for. A run that fetches
  both computes the encoder twice.
- floatx="float16" or "bfloat16": the variables of the whole model have that type, those that heads create after BertModel in
  the same variable scope too, so that a checkpoint converted by tools/ckpt_type_convert.py loads. What BertModel hands out, and
  what get_variable hands to the heads, is cast to float32, so that their code runs unchanged. One graph has one floatx.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator

from tf_fastbert.patching import replace
from tf_fastbert.patching.options import Options

__all__ = ["patch", "patched", "unpatch"]


def patch(
    modeling: types.ModuleType,
    *,
    floatx: str = "float32",
    remove_padding: bool = True,
    precision: str = "default",
    custom_mask: str = "refuse",
    run_squad: types.ModuleType | None = None,
    int8_mode: int = 0,
    quant_mode: str | None = None,
) -> None:
    """Makes the BertModels that `modeling` builds from now on run the op.

    Patching a patched module replaces the options; one unpatch undoes all.

    Args:
      modeling: Google's modeling module: bert.modeling, or a copy under any name.
      floatx: "float32", "float16" or "bfloat16": type of the variables and of the encoder.
      remove_padding: compute only valid tokens; the result is the same with False.
      precision: "default", "tf32" or "float32": of float32 matrix products on a GPU; see tf_fastbert.fast_bert_encoder. "fp8":
        matrix products in E4M3, for a checkpoint with amaxLists (tools/ckpt_quantization.py --precision=fp8).
      custom_mask: "refuse" or "stock": what happens to an attention mask that create_attention_mask_from_input_mask did not
        make: an error, or Google's own encoder (float32 only).
      run_squad: Google's run_squad module, or a copy under any name, whose create_model shall give padding the lowest logits:
        its post-processing would otherwise take padding among the n best positions (see the module `padding`).
      int8_mode: 1, 2 or 3: the kernels are int8 variables and each layer has an amaxList, as in the checkpoints that
        tools/ckpt_quantization.py writes; floatx is the type of the rest. Not for training.
      quant_mode: "ft1", "ft2" or "ft3": Google's encoder with fake quantizers, in training and inference, for float32 checkpoints
        with quantizers (tools/ckpt_calibrate.py), whose ranges are loaded with the weights and saved again.

    Raises:
      TypeError, ValueError: an option has no such value, or `modeling` or `run_squad` lacks what the patch replaces.
    """
    with replace.LOCK:
        replace.apply(modeling, Options(floatx, remove_padding, precision, custom_mask, run_squad, int8_mode, quant_mode))


def unpatch(modeling: types.ModuleType) -> None:
    """Gives `modeling`, and the run_squad patched with it, their own attributes back. Does nothing if it is not patched.

    An attribute that somebody else replaced after patch() is left alone, with a warning in the log.
    """
    with replace.LOCK:
        replace.restore(modeling)


@contextlib.contextmanager
def patched(
    modeling: types.ModuleType,
    *,
    floatx: str = "float32",
    remove_padding: bool = True,
    precision: str = "default",
    custom_mask: str = "refuse",
    run_squad: types.ModuleType | None = None,
    int8_mode: int = 0,
    quant_mode: str | None = None,
) -> Iterator[types.ModuleType]:
    """patch() as a context manager, with the same arguments: `with patched(modeling): ...`.

    At the end the module is as it was before: unpatched, or patched with the options that it had. The patch is the module's,
    not the thread's: another thread that builds a BertModel meanwhile gets it too.
    """
    with replace.LOCK:
        before = replace.options_of(modeling)
        replace.apply(modeling, Options(floatx, remove_padding, precision, custom_mask, run_squad, int8_mode, quant_mode))
    try:
        yield modeling
    finally:
        with replace.LOCK:
            if before is None:
                replace.restore(modeling)
            else:
                replace.apply(modeling, before)
