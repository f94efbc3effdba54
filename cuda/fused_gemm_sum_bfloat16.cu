#include "cuda/fused_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchFusedSumBFloat16(FusedGemmTileKind tile, const FusedGemmMaps& maps, const FusedGemmArgs& args, int blocks,
                                   cudaStream_t stream) {
  return LaunchFusedTileOf<__nv_bfloat16, FusedGemmKind::kSum>(tile, maps, args, blocks, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
