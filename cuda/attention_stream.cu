// The kernel around attention_stream.cuh and its launch.
#include "cuda/attention_stream.cuh"
#include "cuda/dependent_launch.cuh"
#include "cuda/tensor_map.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// next_item: zero at the start; of_next_launch, which is the next launch's, is set to zero.
template <typename T>
__global__ void __launch_bounds__(AttentionStream<T>::kThreads, 1)
    AttentionStreamKernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap context,
                          const __grid_constant__ AttentionArgs args, int* next_item, int* of_next_launch) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Kernel = AttentionStream<T>;
  extern __shared__ __align__(1024) char attention_stream_shared[];
  typename Kernel::Shared& s = *reinterpret_cast<typename Kernel::Shared*>(attention_stream_shared);
  if (threadIdx.x == 0) {
    PrefetchTensorMap(&qkv);
    Kernel::InitBarriers(s);
  }
  __syncthreads();
  LetNextKernelStart();
  WaitForPreviousKernel();
  const int group = UniformInWarp(static_cast<int>(threadIdx.x / 128));
  if (group == Kernel::kGroups) {
    GiveRegisters<Kernel::kCopyRegisters>();
    if (threadIdx.x == Kernel::kGroups * 128) {
      if (blockIdx.x == 0) *of_next_launch = 0;
      Kernel::CopyKeys(args, next_item, &qkv, s);
    } else if (threadIdx.x == Kernel::kGroups * 128 + 32) {
      Kernel::CopyQueries(&qkv, s);
    }
  } else {
    TakeRegisters<Kernel::kRegisters>();
    Kernel::Attend(args, &context, s, group);
  }
#endif
}

template <typename T>
void Launch(const AttentionArgs& args, const CUtensorMap& qkv, const CUtensorMap& context, int num_processors, int layer,
            cudaStream_t stream) {
  const int items = args.num_tiles * args.num_heads;
  // An error is found by LaunchStatus, as after any launch.
  LaunchDependent(AttentionStreamKernel<T>, items < num_processors ? items : num_processors, AttentionStream<T>::kThreads, 1,
                  sizeof(typename AttentionStream<T>::Shared), stream, qkv, context, args, args.next_item + layer % 2,
                  args.next_item + (layer + 1) % 2);
}

template <typename T>
bool Prepare() {
  return cudaFuncSetAttribute(AttentionStreamKernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(typename AttentionStream<T>::Shared)) == cudaSuccess;
}

}  // namespace

bool PrepareAttentionStream(int dtype) {
  if (dtype == FASTBERT_FLOAT16 ? Prepare<__half>() : Prepare<__nv_bfloat16>()) return true;
  cudaGetLastError();
  return false;
}

Status LaunchAttentionStream(const AttentionArgs& args, int dtype, int num_processors, int layer, cudaStream_t stream) {
  const int width = args.num_heads * args.head_size;
  CUtensorMap qkv, context = {};
  FASTBERT_RETURN_IF_ERROR(MakeTileMap(args.qkv, args.num_tokens, 3 * width, 64, dtype, &qkv));
  if (args.quantize == AttentionArgs::kNotQuantized) {
    FASTBERT_RETURN_IF_ERROR(MakeTileMap(args.context, args.num_tokens, width, 16, dtype, &context));
  }
  const auto launch = dtype == FASTBERT_FLOAT16 ? Launch<__half> : Launch<__nv_bfloat16>;
  launch(args, qkv, context, num_processors, layer, stream);
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
