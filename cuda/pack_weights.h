// One layer's weights as the kernels use them, and what must be copied to get them there.
#ifndef TF_FASTBERT_CUDA_PACK_WEIGHTS_H_
#define TF_FASTBERT_CUDA_PACK_WEIGHTS_H_

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/dimensions.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// Device pointers, into the packed buffer or to the user's weights. Sizes are those of Dimensions.
struct PackedLayer {
  const void* qkv_kernel;               // [padded_hidden, 3 * heads]: Q, K and V side by side
  const void* qkv_bias;                 // [3 * heads]
  const void* attention_output_kernel;  // [heads, padded_hidden]
  const void* attention_output_bias;    // [padded_hidden]
  const void* attention_layer_norm_gamma;
  const void* attention_layer_norm_beta;
  const void* intermediate_kernel;  // [padded_hidden, padded_inner]
  const void* intermediate_bias;    // [padded_inner]
  const void* output_kernel;        // [padded_inner, padded_hidden]
  const void* output_bias;          // [padded_hidden]
  const void* output_layer_norm_gamma;
  const void* output_layer_norm_beta;
};

size_t PackedBytes(const FastBertConfig& config, const Dimensions& dimensions);

// Fails where a weight is null or not 16-byte aligned.
Status CheckWeightPointers(int layer, const FastBertLayerWeights& weights);

// Queues the copies for all layers on `stream`. Checks the weights' pointers.
Status PackWeights(const FastBertConfig& config, const Dimensions& dimensions, const FastBertLayerWeights* layers, void* buffer,
                   cudaStream_t stream, std::vector<PackedLayer>* packed);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PACK_WEIGHTS_H_
