// The stream of weights of one block of the persistent encoder: a ring of stages in shared memory, filled with cp.async.
//
// Which weights a block will need does not depend on any activation, so the ring runs ahead of the computation, through barriers
// and into the next products and layers; reading the weights then takes no time of its own as long as memory keeps up. A stage
// holds kPersistentChunk rows (fewer at the end) of the weight matrix [depth, columns], Google's layout, for one tile's columns.
// Rows are an odd number of 16-byte units apart, so that ldmatrix has no bank conflicts.
#ifndef TF_FASTBERT_CUDA_PERSISTENT_WEIGHTS_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_WEIGHTS_CUH_

#include "cuda/mma.cuh"
#include "cuda/persistent.h"
#include "cuda/persistent_rows.cuh"

namespace tf_fastbert {
namespace cuda {

// The two products with hidden_size columns split their depth over a cluster: all its blocks take the same tile.
__device__ __forceinline__ bool SplitsDepth(int product) {
  return product == kPersistentContext || product == kPersistentOutput;
}
__device__ __forceinline__ int FirstTile(int product) {
  return SplitsDepth(product) ? blockIdx.x / kPersistentCluster : blockIdx.x;
}
__device__ __forceinline__ int TileStep(int product) { return SplitsDepth(product) ? gridDim.x / kPersistentCluster : gridDim.x; }

__device__ __forceinline__ const void* ProductWeights(const PackedLayer& layer, int product) {
  switch (product) {
    case kPersistentQkv: return layer.qkv_kernel;
    case kPersistentContext: return layer.attention_output_kernel;
    case kPersistentIntermediate: return layer.intermediate_kernel;
    default: return layer.output_kernel;
  }
}

// Biases and LayerNorms of all layers into L2: reading them from memory, at the moment of use, would be one latency a step.
__device__ __forceinline__ void PrefetchVectors(const PersistentArgs& args) {
  const int layer = blockIdx.x;
  if (layer >= args.num_layers) return;
  const PackedLayer& w = args.layers[layer];
  const auto prefetch = [](const void* from, int elements) {
#pragma unroll 1
    for (int i = threadIdx.x * 64; i < elements; i += kPersistentThreads * 64) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(from) + i * 2));
    }
  };
  prefetch(w.qkv_bias, 3 * args.hidden);
  prefetch(w.attention_output_bias, args.hidden);
  prefetch(w.attention_layer_norm_gamma, args.hidden);
  prefetch(w.attention_layer_norm_beta, args.hidden);
  prefetch(w.intermediate_bias, args.inner_size);
  prefetch(w.output_bias, args.hidden);
  prefetch(w.output_layer_norm_gamma, args.hidden);
  prefetch(w.output_layer_norm_beta, args.hidden);
}

class WeightStream {
 public:
  // `ring`: shared memory of args.stages stages. All threads.
  __device__ __forceinline__ WeightStream(const PersistentArgs& args, uint32_t ring, uint32_t rank)
      : args_(args), ring_(ring), rank_(rank) {
    tile_ = FirstTile(0);
    FindTile();
    read_ = args.stages;
    Refill();
  }

  // Starts loading into all stages that were read; all threads must have finished with them.
  __device__ __forceinline__ void Refill() {
#pragma unroll 1
    for (; read_ > 0; --read_) Fill();
  }

  // Stages that are loaded or being loaded.
  __device__ __forceinline__ int Filled() const { return args_.stages - read_; }

  // Waits for this thread's part of the next `chunks` stages, at most Filled(). After __syncthreads() they are there.
  __device__ __forceinline__ void Wait(int chunks) const {
    switch (Filled() - chunks) {  // groups of copies that may still be under way
      case 0: return WaitForCopies<0>();
      case 1: return WaitForCopies<1>();
      case 2: return WaitForCopies<2>();
      case 3: return WaitForCopies<3>();
      case 4: return WaitForCopies<4>();
      default: return WaitForCopies<5>();
    }
  }

  // The next stage to be read.
  __device__ __forceinline__ int stage() const { return use_stage_; }

  __device__ __forceinline__ void Read(int chunks) {
    read_ += chunks;
    use_stage_ += chunks;
    if (use_stage_ >= args_.stages) use_stage_ -= args_.stages;
  }

 private:
  // Starts loading the next chunk.
  __device__ __forceinline__ void Fill() {
    if (layer_ == args_.num_layers) return CommitCopies();  // every stage is one group
    const PersistentTiling& tiling = args_.tiling[product_];
    const int units = tiling.column_units;
    const int rows = min(kPersistentChunk, tiling.depth - depth_);
    const uint32_t stage = ring_ + fill_stage_ * args_.stage_bytes;
    const int row_bytes = (units | 1) * 16;
#pragma unroll 4
    for (int i = threadIdx.x; i < rows * units; i += kPersistentThreads) {
      const int row = (i * tiling.unit_divisor) >> 16;
      const int unit = i - row * units;
      if (unit < units_) CopyAsync16(stage + row * row_bytes + unit * 16, from_ + row * row_stride_ + unit * 16, true);
    }
    CommitCopies();
    if (++fill_stage_ == args_.stages) fill_stage_ = 0;
    depth_ += rows;
    from_ += rows * row_stride_;
    if (depth_ == tiling.depth) {
      tile_ += TileStep(product_);
      FindTile();
    }
  }

  // From (layer_, product_, tile_) on, this block's first tile.
  __device__ __forceinline__ void FindTile() {
    while (tile_ >= args_.tiling[product_].num_tiles) {
      if (++product_ == kNumPersistentProducts) {
        product_ = 0;
        if (++layer_ == args_.num_layers) return;
      }
      tile_ = FirstTile(product_);
    }
    const PersistentTiling& tiling = args_.tiling[product_];
    const int unit = tile_ % tiling.column_tiles * tiling.column_units;
    units_ = min(tiling.column_units, tiling.columns / 8 - unit);
    row_stride_ = tiling.columns * 2;
    depth_ = 0;
    from_ = static_cast<const char*>(ProductWeights(args_.layers[layer_], product_)) + unit * 16;
    if (SplitsDepth(product_)) from_ += static_cast<int64_t>(rank_) * tiling.depth * row_stride_;
  }

  const PersistentArgs& args_;
  const uint32_t ring_;
  const uint32_t rank_;
  int layer_ = 0, product_ = 0, tile_ = 0, depth_ = 0;  // of the next chunk to load
  int units_ = 0;                                       // columns of its tile that exist, in 8
  int row_stride_ = 0;                                  // bytes
  const char* from_ = nullptr;
  int fill_stage_ = 0;
  int use_stage_ = 0;
  int read_ = 0;  // stages read and not refilled
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_WEIGHTS_CUH_
