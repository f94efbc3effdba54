"""The replacement for modeling.transformer_model."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert import encoder, ops
from tf_fastbert.config import check_heads
from tf_fastbert.patching import activations, context, embedding, mask
from tf_fastbert.patching.layers import EncoderLayers
from tf_fastbert.patching.options import Options
from tf_fastbert.quantization import graph
from tf_fastbert.quantization.fake_quant import FakeQuantizer
from tf_fastbert.quantization.modes import BY_NAME


def make_transformer_model(modeling: types.ModuleType, options: Options) -> Callable[..., Any]:
    """modeling.transformer_model through the op, for inference; for training the original.

    With quant_mode it is Google's arithmetic with fake quantizers, for both.
    """
    original = modeling.transformer_model
    if options.quant_mode:
        quantized = graph.make_transformer_model(modeling, FakeQuantizer(BY_NAME[options.quant_mode]))

        @functools.wraps(original)
        def fake_quantized(*args: Any, **kwargs: Any) -> Any:
            return (original if context.is_teacher() else quantized)(*args, **kwargs)

        return fake_quantized

    @functools.wraps(original)
    def transformer_model(
        input_tensor: Any,
        attention_mask: Any = None,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        intermediate_act_fn: Any = modeling.gelu,
        hidden_dropout_prob: float | None = 0.1,
        attention_probs_dropout_prob: float | None = 0.1,
        initializer_range: float = 0.02,
        do_return_all_layers: bool = False,
    ) -> Any:
        def stock(why: str) -> Any:
            if options.is_16_bit:
                raise ValueError(
                    f"{why}, which only Google's own encoder can do, in float32; the model is patched with "
                    f"floatx={options.floatx}"
                )
            logging.getLogger("tf_fastbert").info("Google's own encoder is used: %s", why)
            return original(
                input_tensor,
                attention_mask=attention_mask,
                hidden_size=hidden_size,
                num_hidden_layers=num_hidden_layers,
                num_attention_heads=num_attention_heads,
                intermediate_size=intermediate_size,
                intermediate_act_fn=intermediate_act_fn,
                hidden_dropout_prob=hidden_dropout_prob,
                attention_probs_dropout_prob=attention_probs_dropout_prob,
                initializer_range=initializer_range,
                do_return_all_layers=do_return_all_layers,
            )

        if options.quantization and (context.is_training() or hidden_dropout_prob or attention_probs_dropout_prob):
            raise ValueError(
                f"a quantized encoder ({options.quantization}) cannot be trained: train the float model with "
                "patch(modeling, quant_mode=...), then quantize it with tools/ckpt_quantization.py"
            )
        if context.is_training():
            return stock("is_training is True")
        if hidden_dropout_prob or attention_probs_dropout_prob:
            return stock(
                f"dropout is not 0 (hidden_dropout_prob={hidden_dropout_prob}, "
                f"attention_probs_dropout_prob={attention_probs_dropout_prob})"
            )
        size_per_head = check_heads(hidden_size, num_attention_heads)
        input_width = modeling.get_shape_list(input_tensor, expected_rank=3)[2]
        if input_width != hidden_size:  # Google's words
            raise ValueError(f"The width of the input tensor ({input_width}) != hidden size ({hidden_size})")
        if attention_mask is None:
            sequence_length = ops.full_length(input_tensor)
        else:
            sequence_length = mask.valid_tokens(attention_mask)
            if sequence_length is None:
                if options.custom_mask == "stock":
                    return stock("the attention mask is a custom one")
                raise ValueError(
                    f"the attention mask {getattr(attention_mask, 'name', attention_mask)!r} was not made by "
                    f"{modeling.__name__}.create_attention_mask_from_input_mask while the module was patched. tf_fastbert "
                    "supports masks over tokens ([B, S], holes allowed), not a mask for each pair of tokens ([B, F, T]). Make it "
                    'with that function, or use patch(..., custom_mask="stock") to have Google\'s own encoder for such masks.'
                )
        attributes: dict[str, Any] = {
            "num_heads": num_attention_heads,
            "size_per_head": size_per_head,
            "activation": activations.op_activation(modeling, intermediate_act_fn),
            "remove_padding": options.remove_padding,
            "precision": "default" if options.precision == "fp8" else options.precision,
        }
        dtype = tf.as_dtype(options.floatx)
        weights = [
            encoder.layer_variables(
                index,
                hidden_size,
                intermediate_size,
                dtype,
                initializer_range,
                kernel_dtype=tf.int8 if options.int8_mode else None,
            )
            for index in range(num_hidden_layers)
        ]
        run_op: Callable[..., Any] = ops.fast_bert_encoder
        if options.quantization:
            amax_lists = [
                encoder.amax_list_variable(index, hidden_size, intermediate_size) for index in range(num_hidden_layers)
            ]
            run_op = functools.partial(
                ops.fast_bert_quantized_encoder, amax_lists=amax_lists, quantization=options.quantization
            )
        hidden_states = tf.cast(embedding.encoder_input(input_tensor, sequence_length), dtype)

        def run(all_layers: bool) -> Any:
            output = run_op(hidden_states, sequence_length, weights, all_layers=all_layers, **attributes)
            return tf.cast(output, input_tensor.dtype)

        output = run(all_layers=False)
        if do_return_all_layers:
            return EncoderLayers(num_hidden_layers, output, lambda: run(all_layers=True))
        return output

    return transformer_model
