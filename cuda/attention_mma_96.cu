// Tensor-core attention (attention_mma.cuh) for heads of up to 96 elements, float16 and bfloat16.
#include "cuda/attention_mma.cuh"

namespace tf_fastbert {
namespace cuda {

void LaunchAttentionMma96(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  LaunchAttentionMma<96>(args, dtype, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
