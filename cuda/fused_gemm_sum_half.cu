#include "cuda/fused_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchFusedSumHalf(FusedGemmTileKind tile, const FusedGemmMaps& maps, const FusedGemmArgs& args, int blocks,
                               cudaStream_t stream) {
  return LaunchFusedTileOf<__half, FusedGemmKind::kSum>(tile, maps, args, blocks, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
