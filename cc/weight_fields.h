// The 16 weight tensors of a layer: their names, their places in LayerWeights, their shapes. The op's shape function and the
// kernel's run-time checks both read this table, so that they cannot disagree.
#ifndef TF_FASTBERT_CC_WEIGHT_FIELDS_H_
#define TF_FASTBERT_CC_WEIGHT_FIELDS_H_

#include "cc/encoder.h"

namespace tf_fastbert {

enum class Dim { kNone, kHidden, kInner };

struct WeightField {
  const char* name;
  const void* LayerWeights::* member;
  Dim rows;     // of a kernel, or the length of a vector
  Dim columns;  // kNone: a vector
};

constexpr int kNumWeightFields = 16;

// In the order of the op's inputs.
inline constexpr WeightField kWeightFields[kNumWeightFields] = {
    {"query_kernel", &LayerWeights::query_kernel, Dim::kHidden, Dim::kHidden},
    {"query_bias", &LayerWeights::query_bias, Dim::kHidden, Dim::kNone},
    {"key_kernel", &LayerWeights::key_kernel, Dim::kHidden, Dim::kHidden},
    {"key_bias", &LayerWeights::key_bias, Dim::kHidden, Dim::kNone},
    {"value_kernel", &LayerWeights::value_kernel, Dim::kHidden, Dim::kHidden},
    {"value_bias", &LayerWeights::value_bias, Dim::kHidden, Dim::kNone},
    {"attention_output_kernel", &LayerWeights::attention_output_kernel, Dim::kHidden, Dim::kHidden},
    {"attention_output_bias", &LayerWeights::attention_output_bias, Dim::kHidden, Dim::kNone},
    {"attention_layer_norm_gamma", &LayerWeights::attention_layer_norm_gamma, Dim::kHidden, Dim::kNone},
    {"attention_layer_norm_beta", &LayerWeights::attention_layer_norm_beta, Dim::kHidden, Dim::kNone},
    {"intermediate_kernel", &LayerWeights::intermediate_kernel, Dim::kHidden, Dim::kInner},
    {"intermediate_bias", &LayerWeights::intermediate_bias, Dim::kInner, Dim::kNone},
    {"output_kernel", &LayerWeights::output_kernel, Dim::kInner, Dim::kHidden},
    {"output_bias", &LayerWeights::output_bias, Dim::kHidden, Dim::kNone},
    {"output_layer_norm_gamma", &LayerWeights::output_layer_norm_gamma, Dim::kHidden, Dim::kNone},
    {"output_layer_norm_beta", &LayerWeights::output_layer_norm_beta, Dim::kHidden, Dim::kNone},
};

// Inputs of both ops: hidden_states, sequence_length, then for each field a list of num_layers tensors.
constexpr int kFirstWeightInput = 2;
constexpr int WeightInput(int field, int layer, int num_layers) { return kFirstWeightInput + field * num_layers + layer; }
constexpr int kIntermediateKernelField = 10;
// FastBertQuantizedEncoder's last list, amax_list, comes behind the weights.
constexpr int FirstAmaxInput(int num_layers) { return WeightInput(kNumWeightFields, 0, num_layers); }

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_WEIGHT_FIELDS_H_
