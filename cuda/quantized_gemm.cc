#include "cuda/quantized_gemm.h"

#include <algorithm>
#include <string>

#include "cuda/quantized_gemm_kernels.h"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kTileRows = 128;  // of D, and bytes of K, in a block's tile

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

// [rows, k] bytes, copied in boxes of box_rows x 128 bytes.
Status MakeMap(const void* values, int64_t rows, int k, int box_rows, CUtensorMap* map) {
  EncodeTiled encode;
  FASTBERT_RETURN_IF_ERROR(GetEncodeTiled(&encode));
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(k), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(k)};
  const cuuint32_t box[2] = {128, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(values), sizes, strides, box, steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return Status::Ok();
  return Status::Internal("cuTensorMapEncodeTiled for [" + std::to_string(rows) + ", " + std::to_string(k) + "] failed with " +
                          std::to_string(result));
}

// Pairs of tiles: what a cluster computes at a time.
int64_t Tiles(int64_t rows, int n, int width) { return (rows + 2 * kTileRows - 1) / (2 * kTileRows) * ((n + width - 1) / width); }

// The width with the least work on the busiest multiprocessors. Measured on an H100: a step of a tile takes as long as its products
// but no less than loading its operands takes, and a tile costs something besides, the widest more, as it is short of registers.
int ChooseTile(int64_t rows, int n, int k, int clusters) {
  int best = 0;
  int64_t best_cost = 0;
  for (int i = 0; i < kNumGemmTileWidths; ++i) {
    const int width = kGemmTileWidths[i];
    const int64_t rounds = (Tiles(rows, n, width) + clusters - 1) / clusters;
    const int64_t cost = rounds * ((k + 127) / 128 * std::max(width, width / 2 + 72) + (width > 128 ? 180 : 48));
    if (i == 0 || cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return best;
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
  for (int i = 0; i < kNumGemmTileWidths; ++i) {
    FASTBERT_RETURN_IF_ERROR(MakeMap(values, n, k, kGemmTileWidths[i] / 2, &weight->map[i]));
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
  return MakeMap(values, rows, k, kTileRows, &input->map);
}

Status LaunchQuantizedGemm(QuantizedType type, const QuantizedInput& input, const QuantizedWeight& weight,
                           const QuantizedGemmArgs& args, int dtype, int tile, int num_processors, cudaStream_t stream) {
  const int clusters = std::max(1, num_processors / 2);
  if (tile < 0) tile = ChooseTile(input.rows, weight.n, weight.k, clusters);
  const int width = kGemmTileWidths[tile];
  QuantizedGemmProblem problem;
  problem.scale = weight.scale;
  problem.bias = weight.bias;
  problem.output = args.output;
  problem.output_scale = args.output_scale;
  problem.activation = MakeActivator(args.activation);
  problem.m = static_cast<int>(input.rows);
  problem.n = weight.n;
  problem.k = weight.k;
  const int blocks = 2 * static_cast<int>(std::min<int64_t>(clusters, Tiles(input.rows, weight.n, width)));
  const bool half = dtype == FASTBERT_FLOAT16;
  QuantizedGemmLauncher launch;
  if (type == QuantizedType::kInt8) {
    launch = args.quantize ? LaunchInt8GemmToInt8 : half ? LaunchInt8GemmToHalf : LaunchInt8GemmToBFloat16;
  } else {
    launch = args.quantize ? LaunchE4M3GemmToE4M3 : half ? LaunchE4M3GemmToHalf : LaunchE4M3GemmToBFloat16;
  }
  return CudaStatus(launch(width, input.map, weight.map[tile], problem, blocks, stream), "QuantizedGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
