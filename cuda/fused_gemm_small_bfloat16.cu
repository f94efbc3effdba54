#include "cuda/fused_gemm_small.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchSmallGemmBFloat16(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                                    cudaStream_t stream) {
  return LaunchSmallGemmOf<__nv_bfloat16>(parts, input, weight, args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
