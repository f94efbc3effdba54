// The FastBertEncoder op: its interface and its documentation.
#include "cc/encoder_shape.h"
#include "tensorflow/core/framework/op.h"

namespace tf_fastbert {

REGISTER_OP("FastBertEncoder")
    .Input("hidden_states: T")
    .Input("sequence_length: int32")
    .Input("query_kernel: num_layers * T")
    .Input("query_bias: num_layers * T")
    .Input("key_kernel: num_layers * T")
    .Input("key_bias: num_layers * T")
    .Input("value_kernel: num_layers * T")
    .Input("value_bias: num_layers * T")
    .Input("attention_output_kernel: num_layers * T")
    .Input("attention_output_bias: num_layers * T")
    .Input("attention_layer_norm_gamma: num_layers * T")
    .Input("attention_layer_norm_beta: num_layers * T")
    .Input("intermediate_kernel: num_layers * T")
    .Input("intermediate_bias: num_layers * T")
    .Input("output_kernel: num_layers * T")
    .Input("output_bias: num_layers * T")
    .Input("output_layer_norm_gamma: num_layers * T")
    .Input("output_layer_norm_beta: num_layers * T")
    .Output("output: T")
    .Attr("T: {float, half, bfloat16}")
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
    .SetShapeFn(InferEncoderShape)
    .Doc(R"doc(
BERT's encoder: all transformer layers in one op, for inference.

B = batch, S = seq_len, H = hidden_size = num_heads * size_per_head, I = inner size (taken from intermediate_kernel). The 16
lists of weights have num_layers tensors each, in the shapes of Google's checkpoints (input dimension first). The op has no
gradient.

hidden_states: [B, S, H], the output of the embedding layer.
sequence_length: [B]: how many tokens of each sequence are valid, from 0 to S; or [B, S]: a mask, nonzero = valid, holes allowed.
  In host memory, also on a GPU. Tokens that are not valid are neither read nor attended to.
query_kernel: [H, H].
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
output: [B, S, H], or [num_layers, B, S, H] if all_layers. Rows of tokens that are not valid are zero.
num_heads: number of attention heads.
size_per_head: even, at most 128.
epsilon: added to the variance in LayerNorm.
activation: of the feed-forward part; BERT's own is gelu_tanh, Hugging Face's models often use gelu_erf.
layer_norm: post: x = LN(x + f(x)), as in BERT. pre: x = x + f(LN(x)), attention_layer_norm in front of attention,
  output_layer_norm in front of the feed-forward part, and no LayerNorm after the last layer.
remove_padding: compute only the valid tokens. false: matrix products run over all B * S rows. The result is the same.
all_layers: return the output of every layer.
precision: of float32 matrix products on a GPU. float32: in full. tf32: their inputs may be rounded to TF32. default: as TensorFlow's
  own, which is TF32 unless tf.config.experimental.enable_tensor_float_32_execution(False) was called.
weights: how changes of the weights are noticed. checked: the CPU kernel compares a hash of their contents on each call, the
  GPU kernel prepares them anew on each call; always right. immutable: whoever produces the weights guarantees never to change
  a buffer that somebody else holds a reference to (constants, and reads of resource variables), so that comparing addresses
  suffices.
)doc");

}  // namespace tf_fastbert
