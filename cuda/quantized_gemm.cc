#include "cuda/quantized_gemm.h"

#include <algorithm>
#include <string>

#include "cuda/quantized_gemm_kernels.h"
#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// What a product costs in units of 10 nanoseconds: a step of k, a tile, and a launch, the latter two without an activation and
// with one. A launch has the last tile's epilogue, which nothing hides, and with an activation more than its arithmetic: the wider
// the tile, the more of its code has left the instruction cache since the last layer. Measured on an H100 with BERT-base and 512 to
// 24,576 rows, among other kernels: alone, again and again, such a product is 5 to 8 microseconds faster.
struct TileCosts {
  int step, tile[2], launch[2];
};
constexpr TileCosts kTileCosts[kNumGemmTiles] = {
    {31, {25, 58}, {0, 0}},       // 128 x 96
    {31, {85, 102}, {30, 350}},   // 128 x 128
    {46, {120, 135}, {90, 550}},  // 128 x 192
    {71, {295, 322}, {0, 0}},     // 192 x 192
};

int ChooseTile(int64_t rows, int n, int k, bool activation, int clusters) {
  return CheapestTile(kGemmTiles, rows, n, (k + 127) / 128, clusters, [activation](int i) {
    const TileCosts& of = kTileCosts[i];
    return GemmTileCost{of.step, of.tile[activation], of.launch[activation]};
  });
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
  for (int i = 0; i < kNumGemmTiles; ++i) {
    FASTBERT_RETURN_IF_ERROR(MakeTileMap(values, n, k, kGemmTiles[i].columns / 2, -1, &weight->map[i]));
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
  return MakeTileMap(values, rows, k, kInputBoxRows, -1, &input->map);
}

Status LaunchQuantizedGemm(QuantizedType type, const QuantizedInput& input, const QuantizedWeight& weight,
                           const QuantizedGemmArgs& args, int dtype, int tile, int num_processors, cudaStream_t stream) {
  const int clusters = std::max(1, num_processors / 2);
  if (tile < 0) tile = ChooseTile(input.rows, weight.n, weight.k, args.activation >= 0, clusters);
  QuantizedGemmProblem problem;
  problem.scale = weight.scale;
  problem.bias = weight.bias;
  problem.output_scale = args.output_scale;
  problem.activation = MakeActivator(args.activation);
  problem.m = static_cast<int>(input.rows);
  problem.n = weight.n;
  problem.k = weight.k;
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, ClusterTiles(input.rows, weight.n, kGemmTiles[tile])));
  const bool half = dtype == FASTBERT_FLOAT16;
  QuantizedGemmLauncher launch;
  if (type == QuantizedType::kInt8) {
    launch = args.quantize ? LaunchInt8GemmToInt8 : half ? LaunchInt8GemmToHalf : LaunchInt8GemmToBFloat16;
  } else {
    launch = args.quantize ? LaunchE4M3GemmToE4M3 : half ? LaunchE4M3GemmToHalf : LaunchE4M3GemmToBFloat16;
  }
  CUtensorMap output;
  FASTBERT_RETURN_IF_ERROR(MakeResultMap(args.output, input.rows, weight.n, kResultBoxRows,
                                         ResultBoxColumns(kGemmTiles[tile], args.quantize ? 1 : 2),
                                         args.quantize ? -1 : dtype, &output));
  return CudaStatus(launch(tile, input.map, weight.map[tile], output, problem, blocks, stream), "QuantizedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
