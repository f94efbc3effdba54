#ifndef TF_FASTBERT_CUDA_ACTIVATION_H_
#define TF_FASTBERT_CUDA_ACTIVATION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// x[r, c] = activation(x[r, c] + bias[c]) for x [rows, columns], in place; columns are a multiple of 8.
Status LaunchBiasActivation(void* x, const void* bias, int64_t rows, int columns, int activation, int dtype, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ACTIVATION_H_
