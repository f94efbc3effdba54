#include "cuda/fused_gemm_small.h"

#include <algorithm>
#include <string>

#include "cuda/fastbert_cuda.h"
#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// Among how many blocks a tile's sum over k is shared out. Measured on an H100 for BERT-base and 16 to 320 rows: most
// multiprocessors should have a block, and a block not more than six steps of k as long as there is room for twice as many.
int ChooseParts(const FusedGemmArgs& args, int num_processors) {
  const int64_t tiles = int64_t{(args.rows + kSmallGemmTile - 1) / kSmallGemmTile} * (args.n / kSmallGemmTile);
  const int steps = (args.k + kSmallGemmDepth - 1) / kSmallGemmDepth;
  int parts = 1;
  while (parts < 8 && 2 * parts <= steps) {
    const int64_t blocks = tiles * parts;
    const bool idle = blocks * 11 < num_processors * 8;
    const bool slow = steps > 6 * parts && blocks * 2 * 11 <= num_processors * 20;
    if (!idle && !slow) break;
    parts *= 2;
  }
  return parts;
}

}  // namespace

bool HasSmallGemm(int compute_capability) {
  if (compute_capability != 90) return false;
  cudaFuncAttributes attributes;
  if (GetSmallGemmAttributes(&attributes) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  // Compiled for anything but sm_90a the kernel is a trap, which needs next to no registers.
  return attributes.numRegs > 40;
}

Status LaunchSmallGemm(const void* input, const void* weight, const FusedGemmArgs& args, int dtype, int num_processors,
                       cudaStream_t stream) {
  CUtensorMap input_map, weight_map;
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(input, args.rows, args.k, kSmallGemmTile, dtype, &input_map));
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(weight, args.n, args.k, kSmallGemmTile, dtype, &weight_map));
  const auto launch = dtype == FASTBERT_FLOAT16 ? LaunchSmallGemmHalf : LaunchSmallGemmBFloat16;
  return CudaStatus(launch(ChooseParts(args, num_processors), input_map, weight_map, args, stream), "SmallGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
