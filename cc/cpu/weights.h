// What the CPU backend makes of the weights: four packed kernels, float32 biases, scales and LayerNorm parameters per layer, all
// in one
// buffer of the caller.
#ifndef TF_FASTBERT_CC_CPU_WEIGHTS_H_
#define TF_FASTBERT_CC_CPU_WEIGHTS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "cc/cpu/policy.h"
#include "cc/cpu/product.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// The four matrix products of a layer. They are the same for every layer.
struct LayerProducts {
  std::unique_ptr<Product> qkv;               // [H] -> [3 H]: query, key and value side by side
  std::unique_ptr<Product> attention_output;  // [H] -> [H], added to the residual
  std::unique_ptr<Product> intermediate;      // [H] -> [I], with the activation
  std::unique_ptr<Product> output;            // [I] -> [H], added to the residual
};

Status CreateLayerProducts(const EncoderConfig& config, const Policy& policy, LayerProducts* products);

struct LayerNormWeights {
  const float* gamma;
  const float* beta;
};

struct PreparedLayer {
  ProductWeights qkv, attention_output, intermediate, output;
  LayerNormWeights attention_layer_norm, output_layer_norm;
  // Of the products' inputs if they are int8, 127 / amax; else 1.
  float qkv_scale = 1, context_scale = 1, intermediate_scale = 1, output_scale = 1;
};

class CpuPreparedWeights : public PreparedWeights {
 public:
  std::vector<PreparedLayer> layers;
};

size_t PreparedWeightsBytes(const EncoderConfig& config, const LayerProducts& products);

// `ranges`: of each layer, where the kernels are int8.
Status PrepareWeights(const EncoderConfig& config, const LayerProducts& products, const LayerWeights* layers,
                      const LayerRanges* ranges, void* buffer, const ParallelFor* parallel_for,
                      std::unique_ptr<PreparedWeights>* prepared);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_WEIGHTS_H_
