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

// The tile with the least work on the busiest multiprocessors. Costs are units of 10 clock cycles, measured on an H100 with
// BERT-base and 2,048 to 24,576 rows: of a step of k; of a tile, as far as no products hide it; and of the last tile's epilogue
// where they hide the others.
FusedGemmTileKind ChooseTile(const FusedGemmArgs& args, int clusters) {
  const bool sum = args.output_statistics != nullptr, turns = !sum;
  constexpr int kStep[2][kNumFusedGemmTiles] = {{55, 82, 108, 122}, {62, 80, 105, 118}};  // without and with a residual
  constexpr int kTile[2][kNumFusedGemmTiles] = {{220, 0, 410, 430}, {450, 670, 950, 1070}};
  constexpr int kGelu[kNumFusedGemmTiles] = {80, 0, 140, 100};
  constexpr int kLast = 1100;
  int best = 0;
  int64_t best_cost = 0;
  for (int i = 0; i < kNumFusedGemmTiles; ++i) {
    const int64_t rounds = (Tiles(args.rows, args.n, i) + clusters - 1) / clusters;
    const int64_t cost = rounds * ((args.k + 63) / 64 * kStep[sum][i] + kTile[sum][i] + (args.activation.gelu ? kGelu[i] : 0)) +
                         (turns && i == kFusedTile128x192 ? kLast : 0);
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
  const int clusters = std::max(1, num_processors / 2);
  if (tile == kNumFusedGemmTiles) tile = ChooseTile(args, clusters);
  FusedGemmMaps maps = {};
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(input, args.rows, args.k, 64, dtype, &maps.input));
  FASTBERT_RETURN_IF_ERROR(MakePermutedTileMap(weight, args.n, args.k, dtype, &maps.weight));
  FASTBERT_RETURN_IF_ERROR(MakeResultMap(args.output, args.rows, args.n, kResultRows, kResultColumns, dtype, &maps.output));
  if (args.residual != nullptr) {
    FASTBERT_RETURN_IF_ERROR(
        MakeResultMap(args.residual, args.rows, args.n, kFusedTileRows[tile], kResultColumns, dtype, &maps.residual));
  }
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, Tiles(args.rows, args.n, tile)));
  const bool half = dtype == FASTBERT_FLOAT16, sum = args.output_statistics != nullptr;
  const FusedGemmLauncher launch =
      sum ? (half ? LaunchFusedSumHalf : LaunchFusedSumBFloat16) : (half ? LaunchFusedRowsHalf : LaunchFusedRowsBFloat16);
  return CudaStatus(launch(tile, maps, args, blocks, stream), "FusedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
