// The FastBertEncoder op: its interface, its shape function, its documentation.
#include <cstdint>
#include <string>

#include "cc/weight_fields.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Every check failure names the input it is about: the messages of InferenceContext itself only speak of dimensions.
absl::Status Explain(const absl::Status& status, InferenceContext* c, const std::string& input, ShapeHandle shape,
                     const char* expected) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError("FastBertEncoder: " + input + " has shape " + c->DebugString(shape) + ", expected " +
                                    expected + " (" + std::string(status.message()) + ")");
}

absl::Status InferShape(InferenceContext* c) {
  int64_t num_layers, num_heads, size_per_head;
  bool all_layers;
  TF_RETURN_IF_ERROR(c->GetAttr("num_layers", &num_layers));
  TF_RETURN_IF_ERROR(c->GetAttr("num_heads", &num_heads));
  TF_RETURN_IF_ERROR(c->GetAttr("size_per_head", &size_per_head));
  TF_RETURN_IF_ERROR(c->GetAttr("all_layers", &all_layers));
  const std::string attrs = "num_heads = " + std::to_string(num_heads) + ", size_per_head = " + std::to_string(size_per_head);
  if (size_per_head % 2 != 0 || size_per_head > 128) {
    return absl::UnimplementedError("FastBertEncoder: size_per_head must be even and at most 128, but is " +
                                    std::to_string(size_per_head));
  }
  // Also keeps the product below from overflowing.
  if (num_heads > (int64_t{1} << 20)) return absl::InvalidArgumentError("FastBertEncoder: too many heads: " + attrs);

  ShapeHandle hidden_states;
  TF_RETURN_IF_ERROR(
      Explain(c->WithRank(c->input(0), 3, &hidden_states), c, "hidden_states", c->input(0), "[batch, seq_len, hidden_size]"));
  DimensionHandle hidden_size;
  TF_RETURN_IF_ERROR(Explain(c->WithValue(c->Dim(hidden_states, 2), num_heads * size_per_head, &hidden_size), c, "hidden_states",
                             hidden_states, ("hidden_size = num_heads * size_per_head with " + attrs).c_str()));
  TF_RETURN_IF_ERROR(c->ReplaceDim(hidden_states, 2, hidden_size, &hidden_states));

  // [batch] lengths or a [batch, seq_len] mask; both say something about the output's shape.
  const ShapeHandle lengths = c->input(1);
  const char* lengths_expected = "[batch] (lengths) or [batch, seq_len] (a mask), like hidden_states";
  if (c->RankKnown(lengths)) {
    const int rank = c->Rank(lengths);
    if (rank != 1 && rank != 2) {
      return Explain(absl::InvalidArgumentError("wrong rank"), c, "sequence_length", lengths, lengths_expected);
    }
    for (int i = 0; i < rank; ++i) {
      DimensionHandle dim;
      TF_RETURN_IF_ERROR(
          Explain(c->Merge(c->Dim(lengths, i), c->Dim(hidden_states, i), &dim), c, "sequence_length", lengths, lengths_expected));
      TF_RETURN_IF_ERROR(c->ReplaceDim(hidden_states, i, dim, &hidden_states));
    }
  }

  DimensionHandle inner_size = c->UnknownDim();
  for (int field = 0; field < kNumWeightFields; ++field) {
    const WeightField& f = kWeightFields[field];
    const bool is_kernel = f.columns != Dim::kNone;
    for (int layer = 0; layer < num_layers; ++layer) {
      const ShapeHandle shape = c->input(WeightInput(field, layer, num_layers));
      const std::string name = std::string(f.name) + "[" + std::to_string(layer) + "]";
      const std::string h = std::to_string(num_heads * size_per_head), inner = c->DebugString(inner_size);
      const auto text = [&](Dim d) { return d == Dim::kHidden ? h : inner; };
      const std::string expected = "[" + text(f.rows) + (is_kernel ? ", " + text(f.columns) : "") + "]";
      ShapeHandle ranked;
      TF_RETURN_IF_ERROR(Explain(c->WithRank(shape, is_kernel ? 2 : 1, &ranked), c, name, shape, expected.c_str()));
      for (int i = 0; i < (is_kernel ? 2 : 1); ++i) {
        const Dim which = i == 0 ? f.rows : f.columns;
        DimensionHandle merged;
        TF_RETURN_IF_ERROR(Explain(c->Merge(c->Dim(ranked, i), which == Dim::kHidden ? hidden_size : inner_size, &merged), c,
                                   name, shape, expected.c_str()));
        if (which == Dim::kInner) inner_size = merged;
      }
    }
  }

  ShapeHandle output = hidden_states;
  if (all_layers) TF_RETURN_IF_ERROR(c->Concatenate(c->Vector(num_layers), hidden_states, &output));
  c->set_output(0, output);
  return absl::OkStatus();
}

}  // namespace

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
    .Attr("precision: {'default', 'tf32'} = 'default'")
    .Attr("weights: {'checked', 'immutable'} = 'checked'")
    .SetShapeFn(InferShape)
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
precision: tf32 permits float32 matrix products to round their inputs to TF32.
weights: how changes of the weights are noticed. checked: the CPU kernel compares a hash of their contents on each call, the
  GPU kernel prepares them anew on each call; always right. immutable: whoever produces the weights guarantees never to change
  a buffer that somebody else holds a reference to (constants, and reads of resource variables), so that comparing addresses
  suffices.
)doc");

}  // namespace tf_fastbert
