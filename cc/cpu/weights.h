// What the CPU backend makes of the weights: four packed kernels, float32 biases and LayerNorm parameters per layer, all in one
// buffer of the caller.
#ifndef TF_FASTBERT_CC_CPU_WEIGHTS_H_
#define TF_FASTBERT_CC_CPU_WEIGHTS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "cc/cpu/gemm.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// The four matrix products of a layer. They are the same for every layer.
struct LayerGemms {
  std::unique_ptr<Gemm> qkv;               // [H] -> [3 H]: query, key and value side by side
  std::unique_ptr<Gemm> attention_output;  // [H] -> [H], added to the residual
  std::unique_ptr<Gemm> intermediate;      // [H] -> [I], with the activation
  std::unique_ptr<Gemm> output;            // [I] -> [H], added to the residual
};

// `compute`: float32 or bfloat16, the type of the products' inputs.
Status CreateLayerGemms(const EncoderConfig& config, DataType compute, LayerGemms* gemms);

struct LayerNormWeights {
  const float* gamma;
  const float* beta;
};

struct PreparedLayer {
  GemmWeights qkv, attention_output, intermediate, output;
  LayerNormWeights attention_layer_norm, output_layer_norm;
};

class CpuPreparedWeights : public PreparedWeights {
 public:
  std::vector<PreparedLayer> layers;
};

size_t PreparedWeightsBytes(const EncoderConfig& config, const LayerGemms& gemms);

Status PrepareWeights(const EncoderConfig& config, const LayerGemms& gemms, const LayerWeights* layers, void* buffer,
                      const ParallelFor* parallel_for, std::unique_ptr<PreparedWeights>* prepared);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_WEIGHTS_H_
