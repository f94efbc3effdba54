// Weights as the products of fused_gemm.h read them: K-major, with the LayerNorm before a product folded into it.
#ifndef TF_FASTBERT_CUDA_FUSED_WEIGHTS_H_
#define TF_FASTBERT_CUDA_FUSED_WEIGHTS_H_

#include <vector>

#include "cuda/dimensions.h"
#include "cuda/gemm.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

struct FusedWeight {
  const void* values = nullptr;       // [n, k] 16-bit values: the model's [k, n] kernel, transposed
  const float* bias = nullptr;        // [n]: the model's, and beta W
  const float* column_sum = nullptr;  // [n]: of the folded and rounded weights; null where no LayerNorm is folded
  int n = 0, k = 0;
};

// Device pointers into the buffer.
struct FusedLayer {
  FusedWeight weight[kNumGemmSites];
  const float* attention_gamma = nullptr;  // [hidden], of the LayerNorm after attention, and so on
  const float* attention_beta = nullptr;
  const float* output_gamma = nullptr;
  const float* output_beta = nullptr;
};

// Post-LN, float16 or bfloat16, head size a multiple of 8, hidden and inner size of 64.
size_t FusedBytes(const FastBertConfig& config);

// Queues what makes the weights of all layers on `stream`; the user's weights have been checked. buffer: FusedBytes, 256-byte
// aligned.
Status PackFusedWeights(const FastBertConfig& config, const Dimensions& dimensions, const FastBertLayerWeights* layers,
                        void* buffer, cudaStream_t stream, std::vector<FusedLayer>* packed);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_WEIGHTS_H_
