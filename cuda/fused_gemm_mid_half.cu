#include "cuda/fused_gemm_mid.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchMidGemmHalf(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                              cudaStream_t stream) {
  return LaunchMidGemmOf<__half>(parts, input, weight, args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
