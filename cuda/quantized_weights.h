// A model's quantized weights as the GPU uses them: 8-bit operands of the products, and their dequantized copies for the kernels
// of the model's own type.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_WEIGHTS_H_
#define TF_FASTBERT_CUDA_QUANTIZED_WEIGHTS_H_

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/dimensions.h"
#include "cuda/gemm.h"
#include "cuda/quantized_gemm.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// One layer. A value x is represented by round(x * scale); `step` = 1 / scale.
struct QuantizedLayer {
  QuantizedWeight weight[kNumGemmSites];  // int8_stream: attention output and output without bias
  float attention_input_scale;
  float context_scale;
  float intermediate_input_scale;
  float output_input_scale;
  float attention_output_sum_scale;  // int8_stream: of the product without its bias
  float output_sum_scale;
};

// Whether int8 kernels must be dequantized for the products in the model's own type: not for FP8, whose kernels come in that type.
inline bool HasInt8Kernels(const FastBertConfig& config) {
  return config.quantization == FASTBERT_INT8_MODE_1 || config.quantization == FASTBERT_INT8_MODE_2;
}

// Mode 2 keeps the residual stream in int8, where the LayerNorm that quantizes it comes after the sum.
inline bool HasInt8Stream(const FastBertConfig& config) {
  return config.quantization == FASTBERT_INT8_MODE_2 && config.layer_norm == FASTBERT_POST_LAYER_NORM;
}

inline QuantizedType QuantizedTypeOf(const FastBertConfig& config) {
  return HasInt8Kernels(config) ? QuantizedType::kInt8 : QuantizedType::kE4M3;
}

size_t QuantizedBytes(const FastBertConfig& config);
// All sizes must be multiples of 32. The ranges may be freed afterwards.
Status PackQuantizedWeights(const FastBertConfig& config, const Dimensions& dimensions, const FastBertLayerWeights* layers,
                            const FastBertLayerRanges* ranges, void* buffer, cudaStream_t stream,
                            std::vector<QuantizedLayer>* packed);

size_t DequantizedBytes(const FastBertConfig& config);
// `dequantized` gets the layers with the six kernels in the model's type, inside `buffer`.
Status DequantizeWeights(const FastBertConfig& config, const FastBertLayerWeights* layers, const FastBertLayerRanges* ranges,
                         void* buffer, cudaStream_t stream, std::vector<FastBertLayerWeights>* dequantized);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_WEIGHTS_H_
