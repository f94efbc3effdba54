#include "cuda/fused_gemm_large.h"

#include <algorithm>

#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// What a product costs in units of 10 clock cycles, measured on an H100 with BERT-base and 2,048 to 24,576 rows: a step of k; a
// tile, as far as no products hide it, and with GELU more; and the last tile's epilogue where products hide the others.
struct TileCosts {
  int step, tile, gelu, last;
};
constexpr TileCosts kRowsCosts[kNumFusedGemmTiles] = {{55, 220, 80, 0}, {82, 0, 0, 1100}, {108, 410, 140, 0}, {122, 430, 100, 0}};
constexpr TileCosts kSumCosts[kNumFusedGemmTiles] = {{62, 450, 0, 0}, {80, 670, 0, 0}, {105, 950, 0, 0}, {118, 1070, 0, 0}};

FusedGemmTileKind ChooseTile(const FusedGemmArgs& args, int clusters) {
  const auto& costs = args.output_statistics != nullptr ? kSumCosts : kRowsCosts;
  return static_cast<FusedGemmTileKind>(CheapestTile(kFusedTiles, args.rows, args.n, (args.k + 63) / 64, clusters, [&](int i) {
    return GemmTileCost{costs[i].step, costs[i].tile + (args.activation.gelu ? costs[i].gelu : 0), costs[i].last};
  }));
}

}  // namespace

bool HasFusedGemm(int compute_capability) {
  if (compute_capability != 90) return false;
  cudaFuncAttributes attributes;
  if (GetFusedGemmAttributes(&attributes) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  // Compiled for anything but sm_90a the kernel is a trap, which needs next to no registers.
  return attributes.numRegs > 100;
}

Status LaunchFusedGemmLarge(const void* input, const void* weight, const FusedGemmArgs& args, int dtype, FusedGemmTileKind tile,
                            int num_processors, cudaStream_t stream) {
  const int clusters = std::max(1, num_processors / 2);
  if (tile == kNumFusedGemmTiles) tile = ChooseTile(args, clusters);
  FusedGemmMaps maps = {};
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(input, args.rows, args.k, 64, dtype, &maps.input));
  FASTBERT_RETURN_IF_ERROR(MakePermutedTileMap(weight, args.n, args.k, dtype, &maps.weight));
  FASTBERT_RETURN_IF_ERROR(MakeResultMap(args.output, args.rows, args.n, kResultRows, kResultColumns, dtype, &maps.output));
  if (args.residual != nullptr) {
    FASTBERT_RETURN_IF_ERROR(
        MakeResultMap(args.residual, args.rows, args.n, kFusedTiles[tile].rows, kResultColumns, dtype, &maps.residual));
  }
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, ClusterTiles(args.rows, args.n, kFusedTiles[tile])));
  const bool half = dtype == FASTBERT_FLOAT16, sum = args.output_statistics != nullptr;
  const FusedGemmLauncher launch =
      sum ? (half ? LaunchFusedSumHalf : LaunchFusedSumBFloat16) : (half ? LaunchFusedRowsHalf : LaunchFusedRowsBFloat16);
  return CudaStatus(launch(tile, maps, args, blocks, stream), "FusedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
