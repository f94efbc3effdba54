// Launchers of the kernels of quantized_gemm.cuh, one a file so that they compile side by side.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_KERNELS_H_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_KERNELS_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cmath>

#include "cuda/fastbert_cuda.h"
#include "cuda/quantized_gemm.h"

namespace tf_fastbert {
namespace cuda {

// What the epilogue knows of an activation. GELU is x / 2 * (1 + tanh(x * (c0 + c1 x^2 + c2 x^4))): exact for the tanh form, and
// within 3e-5 for erf with these coefficients.
struct Activator {
  float c0, c1, c2;
  float max_square;  // in place of x^2 where that is larger, as c2 may be negative
  bool gelu;
  bool relu;
};

inline Activator MakeActivator(int activation) {  // -1: none
  if (activation == FASTBERT_GELU_TANH) return {0.7978845608f, 0.0356774081f, 0.0f, INFINITY, true, false};
  if (activation == FASTBERT_GELU_ERF) return {0.7975076864f, 0.0370058639f, -0.000351549667f, 16.0f, true, false};
  return {0.0f, 0.0f, 0.0f, 0.0f, false, activation == FASTBERT_RELU};
}

constexpr int kInputBoxRows = 64;  // of the input's tensor map; a box of the weight's is half as high as the tile is wide

// Whether two warpgroups take turns with a block's tiles; else each has 64 rows of every tile.
constexpr bool TilesInTurns(GemmTileShape tile) { return tile.rows == 128; }

// Rows and columns that the kernels store at a time: the box of the output's tensor map. Where warpgroups share a tile there are
// more of them, with less room for each beside the operands.
constexpr int kResultBoxRows = 16;
constexpr int ResultBoxColumns(GemmTileShape tile, int value_bytes) {
  if (!TilesInTurns(tile)) return 64 / value_bytes;
  return value_bytes == 1 || tile.columns == 96 ? tile.columns : tile.columns / 2;
}

struct QuantizedGemmProblem {
  const float* scale;
  const float* bias;
  float output_scale;
  Activator activation;
  int m, n, k;
};

// tile: index into kGemmTiles; blocks: an even number.
using QuantizedGemmLauncher = cudaError_t (*)(int tile, const CUtensorMap& input, const CUtensorMap& weight,
                                              const CUtensorMap& output, const QuantizedGemmProblem& problem, int blocks,
                                              cudaStream_t stream);
cudaError_t LaunchInt8GemmToHalf(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                 int, cudaStream_t);
cudaError_t LaunchInt8GemmToBFloat16(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                     int, cudaStream_t);
cudaError_t LaunchInt8GemmToInt8(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                 int, cudaStream_t);
cudaError_t LaunchE4M3GemmToHalf(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                 int, cudaStream_t);
cudaError_t LaunchE4M3GemmToBFloat16(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                     int, cudaStream_t);
cudaError_t LaunchE4M3GemmToE4M3(int, const CUtensorMap&, const CUtensorMap&, const CUtensorMap&, const QuantizedGemmProblem&,
                                 int, cudaStream_t);

// One of the kernels as this build has it for the current GPU.
cudaError_t GetQuantizedGemmAttributes(cudaFuncAttributes* attributes);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_GEMM_KERNELS_H_
