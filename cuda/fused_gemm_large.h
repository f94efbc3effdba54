// The product of fused_gemm.h for many rows; for few see fused_gemm_small.h.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_LARGE_H_
#define TF_FASTBERT_CUDA_FUSED_GEMM_LARGE_H_

#include "cuda/fused_gemm.h"
#include "cuda/fused_gemm_kernels.h"

namespace tf_fastbert {
namespace cuda {

// Whether this GPU and this build have the kernels: compute capability 9.0, compiled for sm_90a.
bool HasFusedGemm(int compute_capability);

// input: [rows, k]; weight: [n, k]; both 16-byte aligned, n and k multiples of 64. tile: kNumFusedGemmTiles for the one that should be
// fastest on num_processors multiprocessors. With output_statistics args.residual is needed, without it nothing is added.
Status LaunchFusedGemmLarge(const void* input, const void* weight, const FusedGemmArgs& args, int dtype, FusedGemmTileKind tile,
                            int num_processors, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_LARGE_H_
