#include "cuda/fused_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchFusedRowsHalf(FusedGemmTileKind tile, const FusedGemmMaps& maps, const FusedGemmArgs& args, int blocks,
                                cudaStream_t stream) {
  return LaunchFusedTileOf<__half, FusedGemmKind::kRows>(tile, maps, args, blocks, stream);
}

cudaError_t GetFusedGemmAttributes(cudaFuncAttributes* attributes) {
  return cudaFuncGetAttributes(attributes, FusedGemmKernel<__half, FusedGemmKind::kRows, FusedGemmTile<192, 3>>);
}

}  // namespace cuda
}  // namespace tf_fastbert
