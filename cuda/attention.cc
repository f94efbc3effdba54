#include "cuda/attention.h"

namespace tf_fastbert {
namespace cuda {

// Must agree with the kernels' kQueries.
int AttentionTileSize(int dtype, int head_size) { return dtype == FASTBERT_FLOAT32 && head_size > 64 ? 32 : 64; }

Status LaunchAttention(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT32) {
    LaunchAttentionFp32(args, stream);
  } else if (args.head_size <= 32) {
    LaunchAttentionMma32(args, dtype, stream);
  } else if (args.head_size <= 64) {
    LaunchAttentionMma64(args, dtype, stream);
  } else if (args.head_size <= 96) {
    LaunchAttentionMma96(args, dtype, stream);
  } else {
    LaunchAttentionMma128(args, dtype, stream);
  }
  return LaunchStatus("attention kernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
