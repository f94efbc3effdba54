// Tensor maps: how Hopper's copy engine is told of a matrix.
#ifndef TF_FASTBERT_CUDA_TENSOR_MAP_H_
#define TF_FASTBERT_CUDA_TENSOR_MAP_H_

#include <cuda.h>

#include <cstdint>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// values [rows, columns], 16-byte aligned, in boxes of box_rows x 128 bytes, which come into shared memory in the 128-byte swizzle;
// what a box has beyond the matrix is zero. dtype: FASTBERT_FLOAT16 or FASTBERT_BFLOAT16, or -1 for bytes.
Status MakeTileMap(const void* values, int64_t rows, int64_t columns, int box_rows, int dtype, CUtensorMap* map);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_TENSOR_MAP_H_
