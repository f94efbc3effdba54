// Matrix products of 8-bit operands on Hopper's tensor cores, with scaling, bias, activation and quantization in the epilogue.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_H_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/gemm_tiles.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

enum class QuantizedType { kInt8, kE4M3 };

constexpr GemmTileShape kGemmTiles[] = {{128, 96}, {128, 128}, {128, 192}, {192, 192}};
constexpr int kNumGemmTiles = 4;

// A weight as the products read it: [n, k] 8-bit values, k contiguous, rows in the order of QuantizedWeightRow.
struct QuantizedWeight {
  CUtensorMap map[kNumGemmTiles];  // one for each tile
  int n = 0, k = 0;
  const float* scale = nullptr;  // device, [n]: what a unit of the accumulator is worth
  const float* bias = nullptr;   // device, [n]
};

// Column of the product that row `row` of a QuantizedWeight makes: within 32 columns the rows are ordered so that a thread's
// accumulators, two of every eight rows, are eight columns side by side, and it can store them at once.
__host__ __device__ inline int QuantizedWeightColumn(int row) {
  return row / 32 * 32 + row % 8 / 2 * 8 + row % 32 / 8 * 2 + row % 2;
}

// An activation matrix [rows, k] of 8-bit values as an operand.
struct QuantizedInput {
  CUtensorMap map;
  int64_t rows = 0;
  int k = 0;
};

// Whether this GPU and this build have the kernels: compute capability 9.0, compiled for sm_90a.
bool HasQuantizedGemm(int compute_capability);

// k must be a multiple of 16, n of 32, the pointers 16-byte aligned.
Status MakeQuantizedWeight(const void* values, int n, int k, const float* scale, const float* bias, QuantizedWeight* weight);
Status MakeQuantizedInput(const void* values, int64_t rows, int k, QuantizedInput* input);

struct QuantizedGemmArgs {
  void* output = nullptr;  // [rows, n], of the dtype below, or 8-bit if `quantize`
  bool quantize = false;
  float output_scale = 1.0f;  // with quantize: the result is multiplied by this and rounded to the operands' type
  int activation = -1;        // with quantize: FastBertActivation, or -1 for none
};

// output = f(scale * (input weight') + bias). dtype: of an output that is not quantized, FASTBERT_FLOAT16 or FASTBERT_BFLOAT16.
// tile: index into kGemmTiles, or -1 for the one that should be fastest on num_processors multiprocessors.
Status LaunchQuantizedGemm(QuantizedType type, const QuantizedInput& input, const QuantizedWeight& weight,
                           const QuantizedGemmArgs& args, int dtype, int tile, int num_processors, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_GEMM_H_
