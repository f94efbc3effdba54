// The kernels around attention_wgmma.cuh and attention_split.cuh, their launches, and whether the current device can run them.
#ifndef TF_FASTBERT_CUDA_ATTENTION_WGMMA_LAUNCH_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_WGMMA_LAUNCH_CUH_

#include "cuda/attention_split.cuh"
#include "cuda/attention_wgmma.cuh"
#include "cuda/dependent_launch.cuh"

namespace tf_fastbert {
namespace cuda {

// Attention: an AttentionWgmma or AttentionSplit. Code for other architectures than sm_90a is an empty kernel, known by its launch
// bounds (see PrepareAttentionWgmma).
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
template <typename Attention>
__global__ void __launch_bounds__(Attention::kThreads, Attention::kBlocks) AttentionHopperKernel(const AttentionArgs args) {
  extern __shared__ __align__(1024) char attention_shared[];
  LetNextKernelStart();
  WaitForPreviousKernel();
  Attention::Run(args, attention_shared);
}
#else
template <typename Attention>
__global__ void __launch_bounds__(32) AttentionHopperKernel(const AttentionArgs args) {}
#endif

template <typename Attention>
void LaunchAttentionHopper(const AttentionArgs& args, int64_t blocks, cudaStream_t stream) {
  // An error is found by LaunchStatus, as after any launch.
  LaunchDependent(AttentionHopperKernel<Attention>, static_cast<unsigned>(blocks), Attention::kThreads, 1,
                  Attention::kSharedBytes, stream, args);
}

template <template <typename, int> class Attention, int kHead>
void LaunchAttentionHopper(const AttentionArgs& args, int dtype, int64_t blocks, cudaStream_t stream) {
  const auto launch = dtype == FASTBERT_FLOAT16 ? LaunchAttentionHopper<Attention<__half, kHead>>
                                                : LaunchAttentionHopper<Attention<__nv_bfloat16, kHead>>;
  launch(args, blocks, stream);
}

template <int kHead>
void LaunchAttentionWgmma(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream) {
  const int64_t items = static_cast<int64_t>(args.num_tiles) * args.num_heads;
  LaunchAttentionHopper<AttentionWgmma, kHead>(args, dtype, items < blocks ? items : blocks, stream);
}

template <int kHead>
void LaunchAttentionSplit(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  LaunchAttentionHopper<AttentionSplit, kHead>(args, dtype, static_cast<int64_t>(args.num_tiles) * args.num_heads, stream);
}

// Allows the kernels their shared memory; how many blocks of the first the current device runs side by side, or 0 where there is no
// code for them.
template <typename T, int kHead>
int PrepareAttentionWgmma() {
  using Kernel = AttentionWgmma<T, kHead>;
  const auto kernel = AttentionHopperKernel<Kernel>;
  cudaFuncAttributes attributes;
  int device = 0, multiprocessors = 0, blocks = 0;
  const bool usable =
      cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.maxThreadsPerBlock >= Kernel::kThreads &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Kernel::kSharedBytes) == cudaSuccess &&
      cudaFuncSetAttribute(AttentionHopperKernel<AttentionSplit<T, kHead>>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           AttentionSplit<T, kHead>::kSharedBytes) == cudaSuccess &&
      cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) == cudaSuccess &&
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, Kernel::kThreads, Kernel::kSharedBytes) == cudaSuccess;
  if (usable) return blocks * multiprocessors;
  cudaGetLastError();
  return 0;
}

template <int kHead>
int PrepareAttentionWgmma(int dtype) {
  return dtype == FASTBERT_FLOAT16 ? PrepareAttentionWgmma<__half, kHead>() : PrepareAttentionWgmma<__nv_bfloat16, kHead>();
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_WGMMA_LAUNCH_CUH_
