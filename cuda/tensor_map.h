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

// A matrix that boxes are stored to, [box_rows, box_columns] each, as they lie in shared memory; what a box has beyond the matrix is left
// out. A box's row must be a multiple of 16 bytes.
Status MakeResultMap(const void* values, int64_t rows, int64_t columns, int box_rows, int box_columns, int dtype,
                     CUtensorMap* map);

// The same as MakeTileMap of 16-bit values, rows being a multiple of 32, as five dimensions: the columns, and the row number's parts 1, 8, 2 and 32
// (with 2, 4, 4 and rows / 32 values). A box has 32 rows, which come in another order: as columns of a product, where two of every
// eight belong to one thread, eight columns side by side are then one thread's.
Status MakePermutedTileMap(const void* values, int rows, int columns, int dtype, CUtensorMap* map);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_TENSOR_MAP_H_
