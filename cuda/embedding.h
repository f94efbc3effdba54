// The embedding layer: three lookups, their sum and its LayerNorm.
#ifndef TF_FASTBERT_CUDA_EMBEDDING_H_
#define TF_FASTBERT_CUDA_EMBEDDING_H_

#include <cuda_runtime_api.h>

#include "cuda/fastbert_cuda.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// See FastBertEmbeddingCall.
Status Embed(const FastBertEmbeddingCall& call, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_EMBEDDING_H_
