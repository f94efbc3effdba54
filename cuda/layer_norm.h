// Bias + residual + LayerNorm, and the copies between padded and packed rows.
#ifndef TF_FASTBERT_CUDA_LAYER_NORM_H_
#define TF_FASTBERT_CUDA_LAYER_NORM_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kMaxHiddenSize = 8192;

// sum = projection + bias + residual; normalized = LayerNorm(sum) * gamma + beta.
// Packed rows have padded_hidden columns, those from `hidden` on being zero. Results are written where a pointer is not null.
struct LayerNormArgs {
  const void* projection = nullptr;  // [rows, padded_hidden], or null: sum = residual
  const void* bias = nullptr;        // [padded_hidden], with projection
  const void* residual = nullptr;    // [rows, padded_hidden]; may be `sum` or `normalized`
  const void* gamma = nullptr;       // [padded_hidden], or null: no LayerNorm, normalized is not written
  const void* beta = nullptr;        // [padded_hidden]
  void* sum = nullptr;               // [rows, padded_hidden]
  void* normalized = nullptr;        // [rows, padded_hidden]

  // One of the two results in the user's layout, [output_rows, hidden]: row r comes from packed row token[r], or is zero where
  // that is -1; packed row r if `token` is null.
  void* output = nullptr;
  bool output_is_sum = false;
  const int32_t* token = nullptr;
  int64_t output_rows = 0;

  int64_t rows = 0;
  int hidden = 0;
  int padded_hidden = 0;
  float epsilon = 0.0f;
  bool dependent = false;  // on Hopper and newer: may start before the kernel in front of it is over (dependent_launch.cuh)
  bool backwards = false;  // set by LaunchLayerNorm: the last rows first
};

Status LaunchLayerNorm(const LayerNormArgs& args, int dtype, cudaStream_t stream);

// packed[r, :] = input[padded_row[r], :] for r < num_tokens (input[r, :] if padded_row is null), with zero columns from `hidden`
// on; zero rows from num_tokens to rows, in `packed` and in also_zero [rows, also_zero_columns].
struct PackRowsArgs {
  const void* input = nullptr;  // [B * S, hidden]
  const int32_t* padded_row = nullptr;
  void* packed = nullptr;  // [rows, padded_hidden]
  void* also_zero = nullptr;
  int also_zero_columns = 0;  // a multiple of 8
  int64_t num_tokens = 0;
  int64_t rows = 0;
  int hidden = 0;
  int padded_hidden = 0;
  bool dependent = false;  // see LayerNormArgs
};

Status LaunchPackRows(const PackRowsArgs& args, int dtype, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_LAYER_NORM_H_
