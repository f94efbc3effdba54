// The layout is FasterTransformer's. Of its five parts only the first two are read, the rest follows from them:
//   72 floats      16 activations x (amax, amax / 127, amax / 127 / 127, 127 / amax), then 8 that mean nothing
//   5 H + I floats amax of the kernels per output channel: query, key, value, attention output (H each), intermediate (I), output
//                  (H)
//   8 + 3 + 21     rescaling factors of the int8 products, their maxima, zeros
// Where ancestors say 9 H, they mean I = 4 H.
#include "cc/amax_list.h"

#include <cmath>
#include <cstdio>
#include <string>

namespace tf_fastbert {
namespace {

constexpr int kActivationFloats = 72;
constexpr int kFloatsPerActivation = 4;
constexpr int kRescalingFloats = 8 + 3 + 21;

struct ActivationQuantizer {
  const char* name;  // below bert/encoder/layer_<i>/
  float LayerRanges::* member;
};

// In the order of the first part.
constexpr ActivationQuantizer kActivations[] = {
    {"attention/self/query/input_quantizer", &LayerRanges::attention_input},
    {"attention/self/query/aftergemm_quantizer", &LayerRanges::query_sum},
    {"attention/self/matmul_q_input_quantizer", &LayerRanges::query},
    {"attention/self/key/aftergemm_quantizer", &LayerRanges::key_sum},
    {"attention/self/matmul_k_input_quantizer", &LayerRanges::key},
    {"attention/self/value/aftergemm_quantizer", &LayerRanges::value_sum},
    {"attention/self/matmul_v_input_quantizer", &LayerRanges::value},
    {"attention/self/softmax_input_quantizer", &LayerRanges::softmax_input},
    {"attention/self/matmul_a_input_quantizer", &LayerRanges::softmax_output},
    {"attention/output/dense/input_quantizer", &LayerRanges::context},
    {"attention/output/dense/aftergemm_quantizer", &LayerRanges::attention_output_sum},
    {"intermediate/dense/input_quantizer", &LayerRanges::intermediate_input},
    {"intermediate/dense/aftergemm_quantizer", &LayerRanges::intermediate_sum},
    {"output/dense/input_quantizer", &LayerRanges::output_input},
    {"output/dense/aftergemm_quantizer", &LayerRanges::output_sum},
    {"the next layer's attention/self/query/input_quantizer", &LayerRanges::next_input},
};

struct KernelQuantizer {
  const char* name;
  const float* LayerRanges::* member;
  bool inner;  // one value for each of the inner_size channels, not of the hidden_size ones
};

constexpr KernelQuantizer kKernels[] = {
    {"attention/self/query/kernel_quantizer", &LayerRanges::query_kernel, false},
    {"attention/self/key/kernel_quantizer", &LayerRanges::key_kernel, false},
    {"attention/self/value/kernel_quantizer", &LayerRanges::value_kernel, false},
    {"attention/output/dense/kernel_quantizer", &LayerRanges::attention_output_kernel, false},
    {"intermediate/dense/kernel_quantizer", &LayerRanges::intermediate_kernel, true},
    {"output/dense/kernel_quantizer", &LayerRanges::output_kernel, false},
};

Status CheckRange(float value, int layer, const char* quantizer, int channel) {
  if (std::isfinite(value) && value > 0) return Status::Ok();
  char number[32];
  std::snprintf(number, sizeof(number), "%g", value);
  return Status::InvalidArgument("amax_list[" + std::to_string(layer) + "]: the range of " + quantizer +
                                 (channel < 0 ? "" : ", channel " + std::to_string(channel) + ",") + " is " + number +
                                 ", but it must be finite and above 0; calibrate the checkpoint and quantize it again");
}

}  // namespace

int64_t AmaxListSize(int64_t hidden_size, int64_t inner_size) {
  return kActivationFloats + 5 * hidden_size + inner_size + kRescalingFloats;
}

Status ParseAmaxLists(const EncoderConfig& config, const float* const* lists, std::vector<LayerRanges>* ranges) {
  ranges->assign(config.num_layers, LayerRanges());
  for (int layer = 0; layer < config.num_layers; ++layer) {
    LayerRanges& to = (*ranges)[layer];
    const float* from = lists[layer];
    for (const ActivationQuantizer& quantizer : kActivations) {
      const Status status = CheckRange(*from, layer, quantizer.name, -1);
      if (!status.ok()) return status;
      to.*quantizer.member = *from;
      from += kFloatsPerActivation;
    }
    from = lists[layer] + kActivationFloats;
    for (const KernelQuantizer& quantizer : kKernels) {
      const int channels = quantizer.inner ? config.inner_size : config.hidden_size;
      for (int channel = 0; channel < channels; ++channel) {
        const Status status = CheckRange(from[channel], layer, quantizer.name, channel);
        if (!status.ok()) return status;
      }
      to.*quantizer.member = from;
      from += channels;
    }
  }
  return Status::Ok();
}

}  // namespace tf_fastbert
