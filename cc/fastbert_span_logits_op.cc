// The FastBertSpanLogits op: its interface, its shape function, its documentation.
#include <string>

#include "cc/shape_checks.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status Wrong(InferenceContext* c, const char* input, ShapeHandle shape, const std::string& expected) {
  return WrongShape(c, "FastBertSpanLogits", input, shape, expected);
}

absl::Status InferShape(InferenceContext* c) {
  ShapeHandle hidden, weights, bias;
  DimensionHandle ignored;
  if (!c->WithRank(c->input(0), 3, &hidden).ok()) {
    return Wrong(c, "hidden_states", c->input(0), "[batch, seq_len, hidden_size]");
  }
  if (!c->WithRank(c->input(1), 2, &weights).ok() || !c->WithValue(c->Dim(weights, 0), 2, &ignored).ok() ||
      !c->Merge(c->Dim(weights, 1), c->Dim(hidden, 2), &ignored).ok()) {
    return Wrong(c, "weights", c->input(1), "[2," + c->DebugString(c->Dim(hidden, 2)) + "]");
  }
  if (!c->WithRank(c->input(2), 1, &bias).ok() || !c->WithValue(c->Dim(bias, 0), 2, &ignored).ok()) {
    return Wrong(c, "bias", c->input(2), "[2]");
  }
  ShapeHandle output = c->MakeShape({c->Dim(hidden, 0), c->Dim(hidden, 1)});
  if (!MergeLengths(c, c->input(3), &output)) {
    return Wrong(c, "sequence_length", c->input(3), "[batch] (lengths) or [batch, seq_len] (a mask), like hidden_states");
  }
  c->set_output(0, output);
  c->set_output(1, output);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("FastBertSpanLogits")
    .Input("hidden_states: T")
    .Input("weights: W")
    .Input("bias: W")
    .Input("sequence_length: int32")
    .Output("start_logits: float")
    .Output("end_logits: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16}")
    .Attr("padding: float = -10000.0")
    .SetShapeFn(InferShape)
    .Doc(R"doc(
The head of a question-answering BERT, for inference: two dot products of each token's hidden state, summed up in float32.

B = batch, S = seq_len, H = hidden_size. The op has no gradient.

hidden_states: [B, S, H].
weights: [2, H], for the start and for the end of an answer.
bias: [2].
sequence_length: in host memory, also on a GPU: [B], how many tokens of each sequence are valid, from 0 to S; or [B, S], a mask,
  nonzero = valid, holes allowed.
start_logits: [B, S].
end_logits: [B, S].
padding: the logits of tokens that are not valid, whose hidden states are not read.
)doc");

}  // namespace tf_fastbert
