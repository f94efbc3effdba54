// The launchers of the kernels of fused_gemm.cuh: for one type and kind, all tiles.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_LAUNCH_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_LAUNCH_CUH_

#include "cuda/fused_gemm.cuh"
#include "cuda/fused_gemm_kernels.h"

namespace tf_fastbert {
namespace cuda {

template <typename T, FusedGemmKind kKind, typename Tile>
cudaError_t LaunchFusedTile(const FusedGemmMaps& maps, const FusedGemmArgs& args, int blocks, cudaStream_t stream) {
  const auto kernel = FusedGemmKernel<T, kKind, Tile>;
  // Once for each device would do, but which ones have it is not worth remembering: it takes no time.
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  if (error != cudaSuccess) return error;
  return LaunchDependent(kernel, blocks, Tile::kThreads, 2, Tile::kSharedBytes, stream, maps.input, maps.weight, maps.residual,
                         maps.output, args);
}

template <typename T, FusedGemmKind kKind>
cudaError_t LaunchFusedTileOf(FusedGemmTileKind tile, const FusedGemmMaps& maps, const FusedGemmArgs& args, int blocks,
                              cudaStream_t stream) {
  constexpr bool kTurns = kKind == FusedGemmKind::kRows;
  switch (tile) {
    case kFusedTile128x128: return LaunchFusedTile<T, kKind, FusedGemmTile<128, 2>>(maps, args, blocks, stream);
    case kFusedTile128x192: return LaunchFusedTile<T, kKind, FusedGemmTile<192, 2, kTurns>>(maps, args, blocks, stream);
    case kFusedTile128x256: return LaunchFusedTile<T, kKind, FusedGemmTile<256, 2>>(maps, args, blocks, stream);
    default: return LaunchFusedTile<T, kKind, FusedGemmTile<192, 3>>(maps, args, blocks, stream);
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_LAUNCH_CUH_
