#include "cuda/quantized_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchInt8GemmToBFloat16(int tile, const CUtensorMap& input, const CUtensorMap& weight, const CUtensorMap& output,
                                 const QuantizedGemmProblem& problem, int blocks, cudaStream_t stream) {
  return LaunchTileOf<Int8, __nv_bfloat16>(tile, input, weight, output, problem, blocks, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
