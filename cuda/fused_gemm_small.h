// The products of fused_gemm.h for up to some hundred rows; for more see fused_gemm_large.h.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_

#include "cuda/fused_gemm.h"

namespace tf_fastbert {
namespace cuda {

// Here RowStatistics are of so many columns: [rows, columns / 32].
constexpr int kSmallStatisticsColumns = 32;

constexpr int kSmallGemmRows = 64;        // of the result, in a tile
constexpr int kSmallGemmColumns = 96;     // likewise
constexpr int kSmallGemmSumColumns = 64;  // likewise, of products with output_statistics
constexpr int kSmallGemmDepth = 64;       // of k, in a stage

// Whether this GPU and this build have the kernels: compute capability 9.0, compiled for sm_90a.
bool HasSmallGemm(int compute_capability);

// input: [rows, k]; weight: [n, k]; both 16-byte aligned. n a multiple of 32, k of 8, columns with statistics of 64; dtype:
// FASTBERT_FLOAT16 or FASTBERT_BFLOAT16. A product with output_statistics has a residual and no activation and normalizes no input;
// one without has no residual.
Status LaunchSmallGemm(const void* input, const void* weight, const FusedGemmArgs& args, int dtype, int num_processors,
                       cudaStream_t stream);

// One a type, each in a file of its own so that they compile side by side. parts: blocks that share a tile's sum over k: 1, 2 or,
// with output_statistics, 4 or 8, and not more than there are steps of k.
cudaError_t LaunchSmallGemmHalf(int parts, const CUtensorMap&, const CUtensorMap&, const FusedGemmArgs&, cudaStream_t);
cudaError_t LaunchSmallGemmBFloat16(int parts, const CUtensorMap&, const CUtensorMap&, const FusedGemmArgs&, cudaStream_t);
cudaError_t GetSmallGemmAttributes(cudaFuncAttributes* attributes);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_H_
