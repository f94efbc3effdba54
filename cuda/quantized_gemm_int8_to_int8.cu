#include "cuda/quantized_gemm_launch.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchInt8GemmToInt8(int tile, const CUtensorMap& input, const CUtensorMap& weight, const CUtensorMap& output,
                                 const QuantizedGemmProblem& problem, int blocks, cudaStream_t stream) {
  return LaunchTileOf<Int8, uint8_t>(tile, input, weight, output, problem, blocks, stream);
}

cudaError_t GetQuantizedGemmAttributes(cudaFuncAttributes* attributes) {
  return cudaFuncGetAttributes(attributes, QuantizedGemmKernel<Int8, uint8_t, QuantizedGemmTile<uint8_t, 2>>);
}

}  // namespace cuda
}  // namespace tf_fastbert
