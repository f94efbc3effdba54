// The products of fused_gemm.h for few rows.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_

#include "cuda/fused_gemm.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kSmallGemmTile = 64;   // rows and columns of the result that a block computes
constexpr int kSmallGemmDepth = 64;  // of k, in a stage

// Whether this GPU and this build have the kernels: compute capability 9.0, compiled for sm_90a.
bool HasSmallGemm(int compute_capability);

// input: [rows, k]; weight: [n, k]; both 16-byte aligned. n must be a multiple of 64 and k of 8; dtype: FASTBERT_FLOAT16 or
// FASTBERT_BFLOAT16.
Status LaunchSmallGemm(const void* input, const void* weight, const FusedGemmArgs& args, int dtype, int num_processors,
                       cudaStream_t stream);

// One a type, each in a file of its own so that they compile side by side. parts: blocks that share a tile's sum over k, 1, 2, 4 or 8.
cudaError_t LaunchSmallGemmHalf(int parts, const CUtensorMap&, const CUtensorMap&, const FusedGemmArgs&, cudaStream_t);
cudaError_t LaunchSmallGemmBFloat16(int parts, const CUtensorMap&, const CUtensorMap&, const FusedGemmArgs&, cudaStream_t);
cudaError_t GetSmallGemmAttributes(cudaFuncAttributes* attributes);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_
