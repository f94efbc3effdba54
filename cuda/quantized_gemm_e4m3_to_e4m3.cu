#include "cuda/quantized_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchE4M3GemmToE4M3(int tile, const CUtensorMap& input, const CUtensorMap& weight, const CUtensorMap& output,
                                 const QuantizedGemmProblem& problem, int blocks, cudaStream_t stream) {
  return LaunchTileOf<E4M3, uint8_t>(tile, input, weight, output, problem, blocks, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
