#include "cuda/fused_gemm_small.h"

#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// Among how many blocks a tile's sum over k is shared out: as many as still run all at once, two on a multiprocessor; more than two in
// a cluster don't fit everywhere, then three quarters of that. As parts become short, starting and sending sums is what takes the
// time. On an H100, with BERT-base and BERT-large and 16 to 512 rows, that is within one percent of the fastest of all combinations.
int ChooseParts(const FusedGemmArgs& args, int num_processors) {
  const bool sum = args.output_statistics != nullptr;
  const int columns = sum ? kSmallGemmSumColumns : kSmallGemmColumns;
  const int64_t tiles = int64_t{(args.rows + kSmallGemmRows - 1) / kSmallGemmRows} * ((args.n + columns - 1) / columns);
  const int steps = (args.k + kSmallGemmDepth - 1) / kSmallGemmDepth;
  const auto pays = [&](int parts) {
    const int64_t blocks = tiles * parts;
    if (parts == 2) return steps >= 6 * parts && blocks <= 2 * num_processors;
    return steps >= 4 * parts && blocks <= num_processors * 3 / 2 && (parts < 8 || steps <= 6 * parts);
  };
  int parts = 1;
  while (parts < (sum ? 8 : 2) && pays(2 * parts)) parts *= 2;
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
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(input, args.rows, args.k, kSmallGemmRows, dtype, &input_map));
  FASTBERT_RETURN_IF_ERROR(MakePermutedTileMap(weight, args.n, args.k, dtype, &weight_map));
  const auto launch = dtype == FASTBERT_FLOAT16 ? LaunchSmallGemmHalf : LaunchSmallGemmBFloat16;
  return CudaStatus(launch(ChooseParts(args, num_processors), input_map, weight_map, args, stream), "SmallGemmKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
