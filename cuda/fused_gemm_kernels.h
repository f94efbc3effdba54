// Launchers of the kernels of fused_gemm.cuh, one a file so that they compile side by side.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_KERNELS_H_
#define TF_FASTBERT_CUDA_FUSED_GEMM_KERNELS_H_

#include "cuda/fused_gemm.h"
#include "cuda/gemm_tiles.h"

namespace tf_fastbert {
namespace cuda {

// Tiles of a block, as they were compiled.
enum FusedGemmTileKind {
  kFusedTile128x128,  // two warpgroups share a tile
  kFusedTile128x192,  // two warpgroups take turns; with statistics they share a tile
  kFusedTile128x256,  // two share a tile
  kFusedTile192x192,  // three do
  kNumFusedGemmTiles
};
constexpr GemmTileShape kFusedTiles[kNumFusedGemmTiles] = {{128, 128}, {128, 192}, {128, 256}, {192, 192}};

// The residual comes in boxes of a tile's rows and 32 columns, and the results leave in boxes of a warp's 16 rows.
constexpr int kResultColumns = 32, kResultRows = 16;

struct FusedGemmMaps {
  CUtensorMap input, weight;
  CUtensorMap residual;  // only with output_statistics
  CUtensorMap output;
};

// blocks: an even number. The kernels with output_statistics are others than those without.
using FusedGemmLauncher = cudaError_t (*)(FusedGemmTileKind tile, const FusedGemmMaps& maps, const FusedGemmArgs& args,
                                          int blocks, cudaStream_t stream);
cudaError_t LaunchFusedRowsHalf(FusedGemmTileKind, const FusedGemmMaps&, const FusedGemmArgs&, int, cudaStream_t);
cudaError_t LaunchFusedRowsBFloat16(FusedGemmTileKind, const FusedGemmMaps&, const FusedGemmArgs&, int, cudaStream_t);
cudaError_t LaunchFusedSumHalf(FusedGemmTileKind, const FusedGemmMaps&, const FusedGemmArgs&, int, cudaStream_t);
cudaError_t LaunchFusedSumBFloat16(FusedGemmTileKind, const FusedGemmMaps&, const FusedGemmArgs&, int, cudaStream_t);

// One of the kernels as this build has it for the current GPU.
cudaError_t GetFusedGemmAttributes(cudaFuncAttributes* attributes);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_KERNELS_H_
