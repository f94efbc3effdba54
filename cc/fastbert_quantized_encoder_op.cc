// The FastBertQuantizedEncoder op: its interface and its documentation.
#include "cc/encoder_shape.h"
#include "tensorflow/core/framework/op.h"

namespace tf_fastbert {

REGISTER_OP("FastBertQuantizedEncoder")
    .Input("hidden_states: T")
    .Input("sequence_length: int32")
    .Input("query_kernel: num_layers * W")
    .Input("query_bias: num_layers * T")
    .Input("key_kernel: num_layers * W")
    .Input("key_bias: num_layers * T")
    .Input("value_kernel: num_layers * W")
    .Input("value_bias: num_layers * T")
    .Input("attention_output_kernel: num_layers * W")
    .Input("attention_output_bias: num_layers * T")
    .Input("attention_layer_norm_gamma: num_layers * T")
    .Input("attention_layer_norm_beta: num_layers * T")
    .Input("intermediate_kernel: num_layers * W")
    .Input("intermediate_bias: num_layers * T")
    .Input("output_kernel: num_layers * W")
    .Input("output_bias: num_layers * T")
    .Input("output_layer_norm_gamma: num_layers * T")
    .Input("output_layer_norm_beta: num_layers * T")
    .Input("amax_list: num_layers * float")
    .Output("output: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {int8, float, half, bfloat16}")
    .Attr("quantization: {'int8_mode1', 'int8_mode2', 'fp8'}")
    .Attr("num_layers: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("size_per_head: int >= 2")
    .Attr("epsilon: float = 1e-12")
    .Attr("activation: {'gelu_tanh', 'gelu_erf', 'relu'} = 'gelu_tanh'")
    .Attr("layer_norm: {'post', 'pre'} = 'post'")
    .Attr("remove_padding: bool = true")
    .Attr("all_layers: bool = false")
    .Attr("precision: {'default', 'tf32', 'float32'} = 'default'")
    .Attr("weights: {'checked', 'immutable'} = 'checked'")
    .SetShapeFn(InferQuantizedEncoderShape)
    .Doc(R"doc(
BERT's encoder with matrix products in 8 bit, for inference: FastBertEncoder with quantized layers.

B, S, H, I as there, and so is every input and attr that is not described here. The op has no gradient.

hidden_states: [B, S, H], the output of the embedding layer.
sequence_length: [B]: how many tokens of each sequence are valid, from 0 to S; or [B, S]: a mask, nonzero = valid, holes allowed.
  In host memory, also on a GPU.
query_kernel: [H, H]. The six lists of kernels have type W, the biases and LayerNorm weights T.
query_bias: [H].
key_kernel: [H, H].
key_bias: [H].
value_kernel: [H, H].
value_bias: [H].
attention_output_kernel: [H, H].
attention_output_bias: [H].
attention_layer_norm_gamma: [H].
attention_layer_norm_beta: [H].
intermediate_kernel: [H, I].
intermediate_bias: [I].
output_kernel: [I, H].
output_bias: [H].
output_layer_norm_gamma: [H].
output_layer_norm_beta: [H].
amax_list: [72 + 5 H + I + 8 + 3 + 21], the ranges of the layer's quantizers as tools/ckpt_quantization.py stores them in
  amaxList. In host memory, also on a GPU. Ranges must be finite and above 0.
output: [B, S, H], or [num_layers, B, S, H] if all_layers. Rows of tokens that are not valid are zero.
W: int8 for the int8 modes, T for fp8.
quantization: int8_mode1: kernels quantized per output channel, w = q * amax / 127. int8_mode2: per tensor; a backend may keep
  the activations between the layers in int8. fp8: kernels and activations are rounded to E4M3 with one scale a tensor.
num_heads: number of attention heads.
size_per_head: even, at most 128.
epsilon: added to the variance in LayerNorm.
activation: of the feed-forward part.
layer_norm: post or pre.
remove_padding: compute only the valid tokens.
all_layers: return the output of every layer.
precision: of float32 matrix products on a GPU. float32: in full. tf32: their inputs may be rounded to TF32. default: as TensorFlow's
  own, which is TF32 unless tf.config.experimental.enable_tensor_float_32_execution(False) was called.
weights: how changes of the weights and of amax_list are noticed; see FastBertEncoder.
)doc");

}  // namespace tf_fastbert
