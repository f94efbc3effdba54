#include "cc/encoder_shape.h"

#include <cstdint>
#include <string>

#include "cc/amax_list.h"
#include "cc/quantization_attr.h"
#include "cc/shape_checks.h"
#include "cc/weight_fields.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/platform/errors.h"

namespace tf_fastbert {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Every check failure names the input it is about: the messages of InferenceContext itself only speak of dimensions.
absl::Status Explain(const absl::Status& status, InferenceContext* c, const std::string& input, ShapeHandle shape,
                     const char* expected) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(input + " has shape " + c->DebugString(shape) + ", expected " + expected + " (" +
                                    std::string(status.message()) + ")");
}

absl::Status NameOp(const absl::Status& status, const char* op) {
  if (status.ok()) return status;
  return tensorflow::errors::CreateWithUpdatedMessage(status, std::string(op) + ": " + std::string(status.message()));
}

// Everything that both ops have. *inner: the inner size, if a kernel tells it.
absl::Status InferShape(InferenceContext* c, DimensionHandle* inner) {
  int64_t num_layers, num_heads, size_per_head;
  bool all_layers;
  TF_RETURN_IF_ERROR(c->GetAttr("num_layers", &num_layers));
  TF_RETURN_IF_ERROR(c->GetAttr("num_heads", &num_heads));
  TF_RETURN_IF_ERROR(c->GetAttr("size_per_head", &size_per_head));
  TF_RETURN_IF_ERROR(c->GetAttr("all_layers", &all_layers));
  const std::string attrs = "num_heads = " + std::to_string(num_heads) + ", size_per_head = " + std::to_string(size_per_head);
  if (size_per_head % 2 != 0 || size_per_head > 128) {
    return absl::UnimplementedError("size_per_head must be even and at most 128, but is " + std::to_string(size_per_head));
  }
  // Also keeps the product below from overflowing.
  if (num_heads > (int64_t{1} << 20)) return absl::InvalidArgumentError("too many heads: " + attrs);

  ShapeHandle hidden_states;
  TF_RETURN_IF_ERROR(
      Explain(c->WithRank(c->input(0), 3, &hidden_states), c, "hidden_states", c->input(0), "[batch, seq_len, hidden_size]"));
  DimensionHandle hidden_size;
  TF_RETURN_IF_ERROR(Explain(c->WithValue(c->Dim(hidden_states, 2), num_heads * size_per_head, &hidden_size), c, "hidden_states",
                             hidden_states, ("hidden_size = num_heads * size_per_head with " + attrs).c_str()));
  TF_RETURN_IF_ERROR(c->ReplaceDim(hidden_states, 2, hidden_size, &hidden_states));

  // [batch] lengths or a [batch, seq_len] mask; both say something about the output's shape.
  if (!MergeLengths(c, c->input(1), &hidden_states)) {
    return Explain(absl::InvalidArgumentError("hidden_states has shape " + c->DebugString(c->input(0))), c, "sequence_length",
                   c->input(1), "[batch] (lengths) or [batch, seq_len] (a mask), like hidden_states");
  }

  *inner = c->UnknownDim();
  DimensionHandle& inner_size = *inner;
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

absl::Status CheckAmaxLists(InferenceContext* c, DimensionHandle inner_size) {
  int64_t num_layers, num_heads, size_per_head;
  TF_RETURN_IF_ERROR(c->GetAttr("num_layers", &num_layers));
  TF_RETURN_IF_ERROR(c->GetAttr("num_heads", &num_heads));
  TF_RETURN_IF_ERROR(c->GetAttr("size_per_head", &size_per_head));
  const bool known = c->ValueKnown(inner_size);
  const int64_t size = known ? AmaxListSize(num_heads * size_per_head, c->Value(inner_size)) : 0;
  const std::string expected = "[" + (known ? std::to_string(size) : "?") + "]";
  for (int layer = 0; layer < num_layers; ++layer) {
    const ShapeHandle shape = c->input(FirstAmaxInput(num_layers) + layer);
    const std::string name = "amax_list[" + std::to_string(layer) + "]";
    ShapeHandle ranked;
    TF_RETURN_IF_ERROR(Explain(c->WithRank(shape, 1, &ranked), c, name, shape, expected.c_str()));
    DimensionHandle dim;
    if (known) TF_RETURN_IF_ERROR(Explain(c->WithValue(c->Dim(ranked, 0), size, &dim), c, name, shape, expected.c_str()));
  }
  return absl::OkStatus();
}

absl::Status InferQuantizedShape(InferenceContext* c) {
  Quantization quantization;
  TF_RETURN_IF_ERROR(ReadQuantization(c, &quantization));
  DimensionHandle inner_size;
  TF_RETURN_IF_ERROR(InferShape(c, &inner_size));
  return CheckAmaxLists(c, inner_size);
}

}  // namespace

absl::Status InferEncoderShape(InferenceContext* c) {
  DimensionHandle inner_size;
  return NameOp(InferShape(c, &inner_size), "FastBertEncoder");
}

absl::Status InferQuantizedEncoderShape(InferenceContext* c) {
  return NameOp(InferQuantizedShape(c), "FastBertQuantizedEncoder");
}

}  // namespace tf_fastbert
