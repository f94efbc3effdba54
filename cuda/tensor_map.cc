#include "cuda/tensor_map.h"

#include <string>

namespace tf_fastbert {
namespace cuda {
namespace {

// The driver's function, found through the runtime: the library is not linked with the driver.
using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                                 const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

Status GetEncodeTiled(EncodeTiled* function) {
  static void* const found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t error = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &result);
#endif
    if (error != cudaSuccess) cudaGetLastError();
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? entry : nullptr;
  }();
  *function = reinterpret_cast<EncodeTiled>(found);
  return found != nullptr ? Status::Ok() : Status::Internal("the CUDA driver has no cuTensorMapEncodeTiled");
}

int SizeOfValue(int dtype) { return dtype < 0 ? 1 : 2; }

template <int kRank>
Status Make(const void* values, int dtype, const cuuint64_t (&sizes)[kRank], const cuuint64_t (&strides)[kRank - 1],
            const cuuint32_t (&box)[kRank], CUtensorMapSwizzle swizzle,
            CUtensorMap* map) {
  EncodeTiled encode;
  FASTBERT_RETURN_IF_ERROR(GetEncodeTiled(&encode));
  const CUtensorMapDataType type = dtype < 0                     ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                   : dtype == FASTBERT_FLOAT16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                               : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  cuuint32_t steps[kRank];
  for (cuuint32_t& step : steps) step = 1;
  const CUresult result = encode(map, type, kRank, const_cast<void*>(values), sizes, strides, box, steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return Status::Ok();
  return Status::Internal("cuTensorMapEncodeTiled of rank " + std::to_string(kRank) + " for rows of " + std::to_string(sizes[0]) +
                          " values failed with " + std::to_string(result));
}

Status MakeMatrixMap(const void* values, int64_t rows, int64_t columns, int box_rows, int box_columns, int dtype,
                     CUtensorMapSwizzle swizzle, CUtensorMap* map) {
  return Make<2>(values, dtype, {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)},
                 {static_cast<cuuint64_t>(columns * SizeOfValue(dtype))},
                 {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)}, swizzle, map);
}

}  // namespace

Status MakeTileMap(const void* values, int64_t rows, int64_t columns, int box_rows, int dtype, CUtensorMap* map) {
  return MakeMatrixMap(values, rows, columns, box_rows, 128 / SizeOfValue(dtype), dtype, CU_TENSOR_MAP_SWIZZLE_128B, map);
}

Status MakeResultMap(const void* values, int64_t rows, int64_t columns, int box_rows, int box_columns, int dtype,
                     CUtensorMap* map) {
  return MakeMatrixMap(values, rows, columns, box_rows, box_columns, dtype, CU_TENSOR_MAP_SWIZZLE_NONE, map);
}

Status MakePermutedTileMap(const void* values, int rows, int columns, int dtype, CUtensorMap* map) {
  const cuuint64_t row = cuuint64_t{2} * columns;
  return Make<5>(values, dtype, {static_cast<cuuint64_t>(columns), 2, 4, 4, static_cast<cuuint64_t>(rows) / 32},
                 {row, 8 * row, 2 * row, 32 * row}, {64, 2, 4, 4, 1}, CU_TENSOR_MAP_SWIZZLE_128B, map);
}

}  // namespace cuda
}  // namespace tf_fastbert
