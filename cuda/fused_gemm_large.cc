#include "cuda/fused_gemm_large.h"

#include <algorithm>

#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// Pairs of tiles: what a cluster computes at a time.
int64_t Tiles(int64_t rows, int n, int tile) {
  const int height = 2 * kFusedTileRows[tile], width = kFusedTileColumns[tile];
  return (rows + height - 1) / height * ((n + width - 1) / width);
}

// The tile with the least work on the busiest multiprocessors. Costs are units of 10 nanoseconds, measured on an H100 with BERT-base
// and 6,144 to 24,576 rows: of a step of k, and of a tile's epilogue as far as no products hide it.
FusedGemmTileKind ChooseTile(const FusedGemmArgs& args, int clusters) {
  const bool sum = args.output_statistics != nullptr;
  const int step[kNumFusedGemmTiles] = {sum ? 36 : 43, 50, 68, 76};
  const int rows_cost[kNumFusedGemmTiles] = {args.activation.gelu ? 50 : 10, 240, 300, 330};
  constexpr int kSumCost[kNumFusedGemmTiles] = {370, 550, 530, 940};
  int best = 0;
  int64_t best_cost = 0;
  for (int i = 0; i < kNumFusedGemmTiles; ++i) {
    const int64_t rounds = (Tiles(args.rows, args.n, i) + clusters - 1) / clusters;
    const int64_t cost = rounds * ((args.k + 63) / 64 * step[i] + (sum ? kSumCost[i] : rows_cost[i]));
    if (i == 0 || cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return static_cast<FusedGemmTileKind>(best);
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
  CUtensorMap input_map, weight_map;
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(input, args.rows, args.k, 64, dtype, &input_map));
  FASTBERT_RETURN_IF_ERROR(MakePermutedTileMap(weight, args.n, args.k, dtype, &weight_map));
  const int clusters = std::max(1, num_processors / 2);
  if (tile == kNumFusedGemmTiles) tile = ChooseTile(args, clusters);
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, Tiles(args.rows, args.n, tile)));
  const bool half = dtype == FASTBERT_FLOAT16, sum = args.output_statistics != nullptr;
  const FusedGemmLauncher launch =
      sum ? (half ? LaunchFusedSumHalf : LaunchFusedSumBFloat16) : (half ? LaunchFusedRowsHalf : LaunchFusedRowsBFloat16);
  return CudaStatus(launch(tile, input_map, weight_map, args, blocks, stream), "FusedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
