#include "cuda/fused_gemm_mid.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchMidGemmBFloat16(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                                  cudaStream_t stream) {
  return LaunchMidGemmOf<__nv_bfloat16>(parts, input, weight, args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
