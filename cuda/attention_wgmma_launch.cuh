// The kernels around attention_wgmma.cuh and attention_split.cuh, their launches, and whether the current device can run them.
#ifndef TF_FASTBERT_CUDA_ATTENTION_WGMMA_LAUNCH_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_WGMMA_LAUNCH_CUH_

#include "cuda/attention_split.cuh"
#include "cuda/attention_wgmma.cuh"
#include "cuda/dependent_launch.cuh"

namespace tf_fastbert {
namespace cuda {

// Code for other architectures than sm_90a is an empty kernel, known by its launch bounds (see PrepareAttentionWgmma).
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
template <typename T, int kHead>
__global__ void __launch_bounds__(AttentionWgmma<T, kHead>::kThreads, AttentionWgmma<T, kHead>::kBlocks)
    AttentionWgmmaKernel(const AttentionArgs args) {
  extern __shared__ __align__(1024) char attention_shared[];
  LetNextKernelStart();
  WaitForPreviousKernel();
  AttentionWgmma<T, kHead>::Run(args, static_cast<uint32_t>(__cvta_generic_to_shared(attention_shared)));
}

template <typename T, int kHead>
__global__ void __launch_bounds__(AttentionSplit<T, kHead>::kThreads, AttentionSplit<T, kHead>::kBlocks)
    AttentionSplitKernel(const AttentionArgs args) {
  extern __shared__ __align__(1024) char attention_split_shared[];
  LetNextKernelStart();
  WaitForPreviousKernel();
  AttentionSplit<T, kHead>::Run(args, attention_split_shared);
}
#else
template <typename T, int kHead>
__global__ void __launch_bounds__(32) AttentionWgmmaKernel(const AttentionArgs args) {}
template <typename T, int kHead>
__global__ void __launch_bounds__(32) AttentionSplitKernel(const AttentionArgs args) {}
#endif

template <typename T, int kHead>
void LaunchAttentionWgmma(const AttentionArgs& args, int blocks, cudaStream_t stream) {
  using Kernel = AttentionWgmma<T, kHead>;
  const int64_t items = static_cast<int64_t>(args.num_tiles) * args.num_heads;
  const unsigned grid = static_cast<unsigned>(items < blocks ? items : blocks);
  // An error is found by LaunchStatus, as after any launch.
  LaunchDependent(AttentionWgmmaKernel<T, kHead>, grid, Kernel::kThreads, 1, Kernel::kSharedBytes, stream, args);
}

template <int kHead>
void LaunchAttentionWgmma(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT16) {
    LaunchAttentionWgmma<__half, kHead>(args, blocks, stream);
  } else {
    LaunchAttentionWgmma<__nv_bfloat16, kHead>(args, blocks, stream);
  }
}

template <typename T, int kHead>
void LaunchAttentionSplit(const AttentionArgs& args, cudaStream_t stream) {
  using Kernel = AttentionSplit<T, kHead>;
  LaunchDependent(AttentionSplitKernel<T, kHead>, args.num_tiles * args.num_heads, Kernel::kThreads, 1, Kernel::kSharedBytes,
                  stream, args);
}

template <int kHead>
void LaunchAttentionSplit(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT16) {
    LaunchAttentionSplit<__half, kHead>(args, stream);
  } else {
    LaunchAttentionSplit<__nv_bfloat16, kHead>(args, stream);
  }
}

// Allows the kernels their shared memory; how many blocks of the first the current device runs side by side, or 0 where there is no
// code for them.
template <typename T, int kHead>
int PrepareAttentionWgmma() {
  using Kernel = AttentionWgmma<T, kHead>;
  const auto kernel = AttentionWgmmaKernel<T, kHead>;
  cudaFuncAttributes attributes;
  int device = 0, multiprocessors = 0, blocks = 0;
  const bool usable =
      cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.maxThreadsPerBlock >= Kernel::kThreads &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Kernel::kSharedBytes) == cudaSuccess &&
      cudaFuncSetAttribute(AttentionSplitKernel<T, kHead>, cudaFuncAttributeMaxDynamicSharedMemorySize,
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
