// Matrix products with a whole step of the layer in their epilogue, LayerNorm included, for float16 and bfloat16 on Hopper.
//
// LayerNorm costs no kernel of its own here: a product that ends a sublayer stores the sum x = product + bias + residual as it is,
// with what is needed of each row's mean and variance, and whoever reads x normalizes. For a residual that is done element by
// element. For a product it is algebra: with W' = diag(gamma) W,
//
//   LayerNorm(x) W = rstd (x W' - mean 1' W') + beta' W
//
// so the product runs on x itself and its epilogue scales rows. W' is rounded once more than W; 1' W' is summed from the rounded
// one, so that what the mean adds to a product is taken out again exactly.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_H_
#define TF_FASTBERT_CUDA_FUSED_GEMM_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/quantized_gemm_kernels.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kStatisticsColumns = 64;

// Of each row of a matrix [rows, columns] and each 64 columns of it: their mean, and the sum of their squared deviations from it.
// Several are one by Chan's formula (parallel variance). [rows, columns / 64].
using RowStatistics = float2;

// output = activation(rstd (input weight' - mean column_sum) + bias) + residual, with mean and rstd of the input's rows; mean = 0
// and rstd = 1 where input_statistics is null. Only one of input_statistics and residual_statistics is there.
struct FusedGemmArgs {
  int rows = 0, n = 0, k = 0;
  const float* bias = nullptr;                    // [n]
  const float* column_sum = nullptr;              // [n], with input_statistics
  const RowStatistics* input_statistics = nullptr;  // [rows, k / 64], or null
  Activator activation = {};

  const void* residual = nullptr;                      // [rows, n], or null
  const RowStatistics* residual_statistics = nullptr;  // [rows, n / 64]: the residual is LayerNorm(residual); null: as it is
  const float* gamma = nullptr;                        // [n], with residual_statistics
  const float* beta = nullptr;                         // [n]

  void* output = nullptr;                      // [rows, n]
  RowStatistics* output_statistics = nullptr;  // [rows, n / 64], or null
  float epsilon = 0.0f;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_H_
