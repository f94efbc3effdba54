// BERT's encoder, post-LN, for few tokens, float16 and bfloat16: one launch for all layers, on Hopper.
//
// One block a multiprocessor, in clusters of four, resident throughout (cooperative launch). A layer is five steps with a
// barrier of the grid after each:
//   1. qkv = LN(sum) Wqkv + b           LayerNorm of the layer before is done by whoever loads its rows; x = LN(sum) is kept
//   2. context = attention(qkv)
//   3. sum = context Wo + b + x         depth split over the cluster
//   4. inner = gelu(LN(sum) Wi + b)     x = LN(sum) is kept
//   5. sum = inner W + b + x            depth split over the cluster
// and at the end the output rows are LN(sum), scattered, padding zero. Layer 0 gathers its rows from the padded input.
//
// What a step costs is mostly latency: the barrier (about 1 microsecond), activations from L2, partial sums. Weights don't
// depend on the step before and stream in all the time (persistent_weights.cuh).
#ifndef TF_FASTBERT_CUDA_PERSISTENT_KERNEL_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_KERNEL_CUH_

#include "cuda/persistent_attention.cuh"
#include "cuda/persistent_product.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kRows>
__global__ void __launch_bounds__(kPersistentThreads, 1) PersistentKernel(const __grid_constant__ PersistentArgs parameters) {
#if __CUDA_ARCH__ >= 900  // clusters; Persistent::Create sees to it that no other code is ever launched
  extern __shared__ __align__(128) char persistent_memory[];
  __shared__ __align__(16) char bias[kPersistentMaxUnits * 16];
  // Read over and over with changing index: quicker than through the constant cache, which is smaller than this.
  __shared__ PersistentArgs args;
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(args) / 4); i += kPersistentThreads) {
    reinterpret_cast<uint32_t*>(&args)[i] = reinterpret_cast<const uint32_t*>(&parameters)[i];
  }
  __syncthreads();
  PersistentShared shared;
  shared.ring = static_cast<uint32_t>(__cvta_generic_to_shared(persistent_memory));
  shared.rows = shared.ring + args.stages * args.stage_bytes;
  shared.received = shared.rows + args.rows_bytes;
  shared.bias = static_cast<uint32_t>(__cvta_generic_to_shared(bias));
  const uint32_t rank = ClusterRank();
  PrefetchVectors(args);
  GridBarrier barrier(args.barrier);
  WeightStream stream(args, shared.ring, rank);
  float* scores = reinterpret_cast<float*>(persistent_memory + args.stages * args.stage_bytes);

  const int vectors = args.hidden / 8;
#pragma unroll 1
  for (int i = 0; i < args.num_layers; ++i) {
    const PackedLayer& layer = args.layers[i];
#pragma unroll 1
    for (int product = 0; product < kNumPersistentProducts; ++product) {
      ProductTask task = {};
      task.product = product;
      task.rows.stride = args.hidden;
      task.rows.vectors = vectors;
      task.rows.epsilon = args.epsilon;
      switch (product) {
        case kPersistentQkv:
          task.rows.from = i == 0 ? args.input : args.sum;
          if (i == 0) {
            task.rows.map = args.padded_row;
          } else {
            task.rows.gamma = args.layers[i - 1].output_layer_norm_gamma;
            task.rows.beta = args.layers[i - 1].output_layer_norm_beta;
          }
          task.rows.copy = args.x;
          task.bias = layer.qkv_bias;
          task.output = args.qkv;
          break;
        case kPersistentContext:
          barrier.Wait();
          if (args.head_size == 64) {
            PersistentAttention<T, 64>::Run(args, scores);
          } else {
            PersistentAttention<T, 32>::Run(args, scores);
          }
          barrier.Arrive();
          task.rows.from = static_cast<const T*>(args.context) + rank * args.tiling[product].depth;
          task.rows.vectors = args.tiling[product].depth / 8;
          task.bias = layer.attention_output_bias;
          task.residual = args.x;
          task.output = args.sum;
          break;
        case kPersistentIntermediate:
          task.rows.from = args.sum;
          task.rows.gamma = layer.attention_layer_norm_gamma;
          task.rows.beta = layer.attention_layer_norm_beta;
          task.rows.copy = args.x;
          task.bias = layer.intermediate_bias;
          task.output = args.inner;
          task.activate = true;
          break;
        default:
          task.rows.from = static_cast<const T*>(args.inner) + rank * args.tiling[product].depth;
          task.rows.stride = args.inner_size;
          task.rows.vectors = args.tiling[product].depth / 8;
          task.bias = layer.output_bias;
          task.residual = args.x;
          task.output = args.sum;
          break;
      }
      PersistentTile<T, kRows>::Run(args, task, shared, rank, stream, barrier, i > 0 || product > 0);
    }
  }
  barrier.Wait();
  StoreOutput<T>(args);
#endif
}

template <int kRows>
const void* PersistentKernelOf(int dtype) {
  return dtype == FASTBERT_FLOAT16 ? reinterpret_cast<const void*>(&PersistentKernel<__half, kRows>)
                                   : reinterpret_cast<const void*>(&PersistentKernel<__nv_bfloat16, kRows>);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_KERNEL_CUH_
