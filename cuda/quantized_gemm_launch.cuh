// The launchers of the kernels of quantized_gemm.cuh: for one format and output type, all tiles.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_LAUNCH_CUH_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_LAUNCH_CUH_

#include "cuda/dependent_launch.cuh"
#include "cuda/quantized_gemm.cuh"
#include "cuda/quantized_gemm_kernels.h"

namespace tf_fastbert {
namespace cuda {

template <typename Format, typename Out, int kTile>
cudaError_t LaunchTile(const CUtensorMap& input, const CUtensorMap& weight, const CUtensorMap& output,
                       const QuantizedGemmProblem& problem, int blocks, cudaStream_t stream) {
  using Tile = QuantizedGemmTile<Out, kTile>;
  const auto kernel = QuantizedGemmKernel<Format, Out, Tile>;
  // Once for each device would do, but which ones have it is not worth remembering: it takes no time.
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  if (error != cudaSuccess) return error;
  return LaunchDependent(kernel, blocks, Tile::kThreads, 2, Tile::kSharedBytes, stream, input, weight, output, problem);
}

template <typename Format, typename Out>
cudaError_t LaunchTileOf(int tile, const CUtensorMap& input, const CUtensorMap& weight, const CUtensorMap& output,
                         const QuantizedGemmProblem& problem, int blocks, cudaStream_t stream) {
  static_assert(kNumGemmTiles == 4, "a case for each");
  switch (tile) {
    case 0: return LaunchTile<Format, Out, 0>(input, weight, output, problem, blocks, stream);
    case 1: return LaunchTile<Format, Out, 1>(input, weight, output, problem, blocks, stream);
    case 2: return LaunchTile<Format, Out, 2>(input, weight, output, problem, blocks, stream);
    default: return LaunchTile<Format, Out, 3>(input, weight, output, problem, blocks, stream);
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_GEMM_LAUNCH_CUH_
