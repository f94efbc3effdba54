#include "cuda/fused_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchFusedRowsHalf(FusedGemmTileKind tile, const CUtensorMap& input, const CUtensorMap& weight,
                                const FusedGemmArgs& args, int blocks, cudaStream_t stream) {
  return LaunchFusedTileOf<__half, FusedGemmKind::kRows>(tile, input, weight, args, blocks, stream);
}

cudaError_t GetFusedGemmAttributes(cudaFuncAttributes* attributes) {
  return cudaFuncGetAttributes(attributes, FusedGemmKernel<__half, FusedGemmKind::kRows, FusedGemmTile<192, 2, false>>);
}

}  // namespace cuda
}  // namespace tf_fastbert
