// Which of a kernel's tiles a product takes, for kernels whose clusters of two blocks, one below the other, go through the result.
#ifndef TF_FASTBERT_CUDA_GEMM_TILES_H_
#define TF_FASTBERT_CUDA_GEMM_TILES_H_

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

// Of the result, what a block computes at a time.
struct GemmTileShape {
  int rows, columns;
};

// In any unit of time: of a step of k, of a tile besides, and of a launch besides.
struct GemmTileCost {
  int step, tile, launch;
};

// Pairs of tiles: what a cluster computes at a time.
inline int64_t ClusterTiles(int64_t rows, int n, const GemmTileShape& tile) {
  return (rows + 2 * tile.rows - 1) / (2 * tile.rows) * ((n + tile.columns - 1) / tile.columns);
}

// The index of the tile with the least work on the busiest multiprocessors. cost_of(i) -> GemmTileCost of tiles[i].
template <int kCount, typename CostOf>
int CheapestTile(const GemmTileShape (&tiles)[kCount], int64_t rows, int n, int steps, int clusters, const CostOf& cost_of) {
  int best = 0;
  int64_t best_cost = 0;
  for (int i = 0; i < kCount; ++i) {
    const int64_t rounds = (ClusterTiles(rows, n, tiles[i]) + clusters - 1) / clusters;
    const GemmTileCost of = cost_of(i);
    const int64_t cost = rounds * (int64_t{steps} * of.step + of.tile) + of.launch;
    if (i == 0 || cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_GEMM_TILES_H_
