#include "cuda/fused_gemm_small.cuh"

namespace tf_fastbert {
namespace cuda {

cudaError_t LaunchSmallGemmHalf(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                                cudaStream_t stream) {
  return LaunchSmallGemmOf<__half>(parts, input, weight, args, stream);
}

cudaError_t GetSmallGemmAttributes(cudaFuncAttributes* attributes) {
  return cudaFuncGetAttributes(attributes, SmallGemmKernel<__half, SmallGemm<kSmallGemmColumns, 1, 3>, false>);
}

}  // namespace cuda
}  // namespace tf_fastbert
