// Row operations around 8-bit products: LayerNorm that also quantizes (and may read int8), and quantizing alone.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_ROWS_H_
#define TF_FASTBERT_CUDA_QUANTIZED_ROWS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/layer_norm.h"
#include "cuda/quantized_gemm.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kMaxQuantizedHiddenSize = 2048;

// As LayerNormArgs, where hidden == padded_hidden, a multiple of 32 and at most kMaxQuantizedHiddenSize, and besides:
struct QuantizedLayerNormArgs : LayerNormArgs {
  // projection and residual are int8, these being what a unit of each is worth; otherwise they are of the dtype.
  bool int8_stream = false;
  float projection_step = 1.0f;
  float residual_step = 1.0f;

  void* quantized = nullptr;  // [rows, hidden] or null: `normalized` times quantize_scale, 8-bit; may be `residual`
  float quantize_scale = 1.0f;
};

// dtype: FASTBERT_FLOAT16 or FASTBERT_BFLOAT16.
Status LaunchQuantizedLayerNorm(const QuantizedLayerNormArgs& args, QuantizedType type, int dtype, cudaStream_t stream);

// quantized = input * scale.
struct QuantizeRowsArgs {
  const void* input = nullptr;  // [rows, hidden]
  void* quantized = nullptr;    // [rows, hidden], 8-bit
  float scale = 1.0f;
  int64_t rows = 0;
  int hidden = 0;
};

Status LaunchQuantizeRows(const QuantizeRowsArgs& args, QuantizedType type, int dtype, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_ROWS_H_
