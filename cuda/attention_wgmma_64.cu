// Hopper's attention (attention_wgmma.cuh, attention_split.cuh) for heads of up to 64 elements, float16 and bfloat16.
#include "cuda/attention_wgmma_launch.cuh"

namespace tf_fastbert {
namespace cuda {

int PrepareAttentionWgmma64(int dtype) { return PrepareAttentionWgmma<64>(dtype); }

void LaunchAttentionWgmma64(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream) {
  LaunchAttentionWgmma<64>(args, dtype, blocks, stream);
}

void LaunchAttentionSplit64(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  LaunchAttentionSplit<64>(args, dtype, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
