#include "cuda/fused_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchFusedSumHalf(FusedGemmTileKind tile, const CUtensorMap& input, const CUtensorMap& weight,
                               const FusedGemmArgs& args, int blocks, cudaStream_t stream) {
  return LaunchFusedTileOf<__half, FusedGemmKind::kSum>(tile, input, weight, args, blocks, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
