// The FastBertEmbedding op: its interface, its shape function, its documentation.
#include <cstdint>
#include <string>

#include "cc/shape_checks.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status Wrong(InferenceContext* c, const char* input, ShapeHandle shape, const std::string& expected) {
  return WrongShape(c, "FastBertEmbedding", input, shape, expected);
}

absl::Status InferShape(InferenceContext* c) {
  // [batch, seq_len]: what the ids, the token types and a mask say together.
  ShapeHandle ids;
  if (!c->WithRank(c->input(0), 2, &ids).ok()) return Wrong(c, "input_ids", c->input(0), "[batch, seq_len]");
  if (!c->Merge(c->input(1), ids, &ids).ok()) {
    return Wrong(c, "token_type_ids", c->input(1), c->DebugString(ids) + " like input_ids");
  }
  // [H]: what the tables and the LayerNorm's weights say together.
  static constexpr const char* kWeights[] = {"word_embeddings", "position_embeddings", "token_type_embeddings", "gamma", "beta"};
  DimensionHandle hidden_size = c->UnknownDim();
  for (int i = 0; i < 5; ++i) {
    const ShapeHandle shape = c->input(2 + i);
    const int rank = i < 3 ? 2 : 1;
    const std::string expected = std::string(rank == 2 ? "[rows, " : "[") + c->DebugString(hidden_size) + "]";
    ShapeHandle ranked;
    if (!c->WithRank(shape, rank, &ranked).ok()) return Wrong(c, kWeights[i], shape, expected);
    if (!c->Merge(c->Dim(ranked, rank - 1), hidden_size, &hidden_size).ok()) return Wrong(c, kWeights[i], shape, expected);
  }
  int num_lengths;
  TF_RETURN_IF_ERROR(c->GetAttr("num_lengths", &num_lengths));
  if (num_lengths > 1) return absl::InvalidArgumentError("FastBertEmbedding: num_lengths must be 0 or 1");
  if (num_lengths == 1 && !MergeLengths(c, c->input(7), &ids)) {
    return Wrong(c, "sequence_length", c->input(7), "[batch] (lengths) or [batch, seq_len] (a mask), like input_ids");
  }
  const ShapeHandle positions = c->input(3);
  if (c->RankKnown(positions) && c->ValueKnown(c->Dim(positions, 0)) && c->ValueKnown(c->Dim(ids, 1)) &&
      c->Value(c->Dim(positions, 0)) < c->Value(c->Dim(ids, 1))) {
    return Wrong(c, "position_embeddings", positions,
                 "a row for each of seq_len = " + c->DebugString(c->Dim(ids, 1)) + " positions");
  }
  c->set_output(0, c->MakeShape({c->Dim(ids, 0), c->Dim(ids, 1), hidden_size}));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("FastBertEmbedding")
    .Input("input_ids: int32")
    .Input("token_type_ids: int32")
    .Input("word_embeddings: T")
    .Input("position_embeddings: T")
    .Input("token_type_embeddings: T")
    .Input("gamma: T")
    .Input("beta: T")
    .Input("sequence_length: num_lengths * int32")
    .Output("output: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("num_lengths: int >= 0 = 0")
    .Attr("epsilon: float = 1e-12")
    .SetShapeFn(InferShape)
    .Doc(R"doc(
BERT's embedding layer, for inference: LayerNorm(word + token type + position), summed and normalized in float32.

B = batch, S = seq_len, H = hidden_size. The op has no gradient.

input_ids: [B, S], 0 to V - 1. Others are an error on a CPU; on a GPU they count as a row of zeros, as with tf.gather.
token_type_ids: [B, S], 0 to Y - 1. Others count as a row of zeros, as with tf.one_hot.
word_embeddings: [V, H].
position_embeddings: [P, H], P >= S.
token_type_embeddings: [Y, H].
gamma: [H].
beta: [H].
sequence_length: at most one tensor, in host memory, also on a GPU: [B], how many tokens of each sequence are valid, from 0 to S;
  or [B, S], a mask, nonzero = valid, holes allowed. Without it all tokens are valid.
output: [B, S, H]. Rows of tokens that are not valid are zero; their ids are not read.
epsilon: added to the variance in LayerNorm.
)doc");

}  // namespace tf_fastbert
