#include "cuda/quantized_gemm.h"

#include <algorithm>
#include <string>

#include "cuda/quantized_gemm_kernels.h"
#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kTileRows = 128;  // of D, and bytes of K, in a block's tile

// Pairs of tiles: what a cluster computes at a time.
int64_t Tiles(int64_t rows, int n, int width) { return (rows + 2 * kTileRows - 1) / (2 * kTileRows) * ((n + width - 1) / width); }

// The width with the least work on the busiest multiprocessors. Costs are units of 10 nanoseconds, measured on an H100 with
// BERT-base and 512 to 24,576 rows: of a step of k, of a tile, and of a launch, where the last tile's epilogue counts, which nothing
// hides, and an activation more than its arithmetic: the wider the tile, the more of its code has left the instruction cache since the
// last layer (seen only among other kernels: alone, again and again, such a product is 5 to 8 microseconds faster).
int ChooseTile(int64_t rows, int n, int k, bool activation, int clusters) {
  constexpr int kStep[kNumGemmTileWidths] = {31, 31, 46};
  constexpr int kTile[2][kNumGemmTileWidths] = {{25, 85, 120}, {58, 102, 135}};  // without an activation, and with one
  constexpr int kLaunch[2][kNumGemmTileWidths] = {{0, 30, 90}, {0, 350, 550}};
  int best = 0;
  int64_t best_cost = 0;
  for (int i = 0; i < kNumGemmTileWidths; ++i) {
    const int64_t rounds = (Tiles(rows, n, kGemmTileWidths[i]) + clusters - 1) / clusters;
    const int64_t cost = rounds * ((k + 127) / 128 * kStep[i] + kTile[activation][i]) + kLaunch[activation][i];
    if (i == 0 || cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace

bool HasQuantizedGemm(int compute_capability) {
  if (compute_capability != 90) return false;
  cudaFuncAttributes attributes;
  if (GetQuantizedGemmAttributes(&attributes) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  // Compiled for anything but sm_90a the kernel is a trap, which needs next to no registers.
  return attributes.numRegs > 100;
}

Status MakeQuantizedWeight(const void* values, int n, int k, const float* scale, const float* bias, QuantizedWeight* weight) {
  for (int i = 0; i < kNumGemmTileWidths; ++i) {
    FASTBERT_RETURN_IF_ERROR(MakeTileMap(values, n, k, kGemmTileWidths[i] / 2, -1, &weight->map[i]));
  }
  weight->n = n;
  weight->k = k;
  weight->scale = scale;
  weight->bias = bias;
  return Status::Ok();
}

Status MakeQuantizedInput(const void* values, int64_t rows, int k, QuantizedInput* input) {
  input->rows = rows;
  input->k = k;
  return MakeTileMap(values, rows, k, kTileRows, -1, &input->map);
}

Status LaunchQuantizedGemm(QuantizedType type, const QuantizedInput& input, const QuantizedWeight& weight,
                           const QuantizedGemmArgs& args, int dtype, int tile, int num_processors, cudaStream_t stream) {
  const int clusters = std::max(1, num_processors / 2);
  if (tile < 0) tile = ChooseTile(input.rows, weight.n, weight.k, args.activation >= 0, clusters);
  const int width = kGemmTileWidths[tile];
  QuantizedGemmProblem problem;
  problem.scale = weight.scale;
  problem.bias = weight.bias;
  problem.output_scale = args.output_scale;
  problem.activation = MakeActivator(args.activation);
  problem.m = static_cast<int>(input.rows);
  problem.n = weight.n;
  problem.k = weight.k;
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, Tiles(input.rows, weight.n, width)));
  const bool half = dtype == FASTBERT_FLOAT16;
  QuantizedGemmLauncher launch;
  if (type == QuantizedType::kInt8) {
    launch = args.quantize ? LaunchInt8GemmToInt8 : half ? LaunchInt8GemmToHalf : LaunchInt8GemmToBFloat16;
  } else {
    launch = args.quantize ? LaunchE4M3GemmToE4M3 : half ? LaunchE4M3GemmToHalf : LaunchE4M3GemmToBFloat16;
  }
  CUtensorMap output;
  FASTBERT_RETURN_IF_ERROR(MakeResultMap(args.output, input.rows, weight.n, kResultBoxRows,
                                         ResultBoxColumns(width, args.quantize ? 1 : 2), args.quantize ? -1 : dtype, &output));
  return CudaStatus(launch(width, input.map, weight.map[tile], output, problem, blocks, stream), "QuantizedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
