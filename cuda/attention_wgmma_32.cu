// Hopper's attention (attention_wgmma.cuh, attention_split.cuh) for heads of up to 32 elements, float16 and bfloat16.
#include "cuda/attention_wgmma_launch.cuh"

namespace tf_fastbert {
namespace cuda {

int PrepareAttentionWgmma32(int dtype) { return PrepareAttentionWgmma<32>(dtype); }

void LaunchAttentionWgmma32(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream) {
  LaunchAttentionWgmma<32>(args, dtype, blocks, stream);
}

void LaunchAttentionSplit32(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  LaunchAttentionSplit<32>(args, dtype, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
