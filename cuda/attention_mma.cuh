// Attention for float16 and bfloat16 on tensor cores, flash style: context = softmax(scale * Q K^T) V, never writing the scores.
//
// qkv [tokens, 3, heads, D] and context [tokens, heads, D] are packed; a block takes 64 queries of one sequence and head (one
// entry of `tiles`), four warps of 16 queries each, and walks over that sequence's keys, 64 at a time (32 for large heads). So
// the work is proportional to the valid tokens; blocks of long sequences start first, and all heads of a tile run next to each
// other.
//
// K and V tiles are double-buffered in shared memory with cp.async: the next tile loads while this one is used. Q stays in
// registers. Scores are scaled into base 2 and the running maximum, sum and accumulators are float32 registers; P goes from the
// accumulators of Q K^T straight into the operand registers of P V. Shared rows are swizzled in 16-byte chunks, so ldmatrix has
// no bank conflicts. D below the compiled head size is filled up with zeros, which change no score; columns of V beyond D are not
// stored.
#ifndef TF_FASTBERT_CUDA_ATTENTION_MMA_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_MMA_CUH_

#include <cmath>

#include "cuda/attention.h"
#include "cuda/attention_store.cuh"
#include "cuda/mma.cuh"
#include "cuda/online_softmax.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kHead>
struct AttentionMma {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kQueries = kWarps * 16;
  static constexpr int kKeys = kHead <= 64 ? 64 : 32;
  static constexpr int kChunks = kHead / 8;  // 16-byte chunks in a row
  static constexpr int kRowBytes = kHead * 2;
  static constexpr int kTileBytes = kKeys * kRowBytes;  // of K or V
  static constexpr int kSharedBytes = kQueries * kRowBytes + 4 * kTileBytes;
  // Blocks that shall fit a multiprocessor together, as far as registers matter.
  static constexpr int kBlocks = kHead <= 32 ? 5 : kHead <= 64 ? 4 : 3;
  static_assert(kSharedBytes <= 48 * 1024, "more would need cudaFuncSetAttribute");
  // Copying: this many threads side by side on a row (a power of two; four of 16 are idle for 96), and rows in one go.
  static constexpr int kCopyLanes = kHead == 96 ? 16 : kChunks;
  static constexpr int kCopyRows = kThreads / kCopyLanes;

  // Shared address of chunk 0 of a row, and of chunk c given that of chunk 0 (or, for even c, that of chunk 1, which gives c +
  // 1). The swizzle puts eight consecutive rows of one chunk into different banks; written this way a whole loop over chunks or
  // rows costs one instruction for each chunk, the rest being constant offsets.
  static __device__ __forceinline__ uint32_t Row(uint32_t tile, int row) {
    return tile + row * kRowBytes + (kChunks % 8 == 0 ? row & 7 : (row >> 1) & 3) * 16;
  }
  static __device__ __forceinline__ uint32_t Chunk(uint32_t row, int c) {
    return kChunks % 8 == 0 ? (row ^ (c & 7) * 16) + (c >> 3) * 128 : (row ^ (c & 3) * 16) + (c >> 2) * 64;
  }

  // What one thread copies of each tile: 16 bytes of rows `row`, `row` + kCopyRows, ...
  struct Copier {
    int row;
    bool in_head;     // the chunk lies inside the head
    uint32_t offset;  // of its chunk in a tile
    int64_t step;     // elements from one row to the next that it copies

    __device__ __forceinline__ Copier(int64_t stride, int head_size) {
      row = threadIdx.x / kCopyLanes;
      const int chunk = threadIdx.x % kCopyLanes;
      in_head = chunk * 8 < head_size;
      offset = Chunk(Row(0, row), chunk);
      step = stride * kCopyRows;
    }

    // `from`: this thread's first element of the tile; `rows`: valid rows of the tile, the others become zero.
    template <int kRows>
    __device__ __forceinline__ void Copy(uint32_t tile, const T* from, const T* readable, int rows) const {
      if (kCopyLanes != kChunks && threadIdx.x % kCopyLanes >= kChunks) return;
#pragma unroll
      for (int i = 0; i < kRows / kCopyRows; ++i) {
        const bool valid = in_head && row + i * kCopyRows < rows;
        CopyAsync16(tile + offset + i * kCopyRows * kRowBytes, valid ? from : readable, valid);
        from += step;
      }
    }
  };

  // One tile of keys for a warp's 16 queries: o, max and sum take up softmax(q k^T) v. kTail: only keys_left of its keys are
  // valid, and groups of 16 without any are passed over.
  template <bool kTail>
  static __device__ __forceinline__ void Step(const uint32_t (&q)[kHead / 16][4], uint32_t k_row, uint32_t v_row, float scale,
                                              int keys_left, float (&o)[kHead / 8][4], float (&max)[2], float (&sum)[2]) {
    const int lane = threadIdx.x % 32;
    float s[kKeys / 8][4] = {};
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      if (kTail && n * 16 >= keys_left) continue;
#pragma unroll
      for (int k = 0; k < kHead / 16; ++k) {
        uint32_t b[4];
        LoadMatrices(b, Chunk(k_row, 2 * k) + n * 16 * kRowBytes);
        Mma<T>(s[2 * n], q[k], b[0], b[1]);
        Mma<T>(s[2 * n + 1], q[k], b[2], b[3]);
      }
    }

    if (kTail) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (n * 8 + lane % 4 * 2 + i % 2 >= keys_left) s[n][i] = -INFINITY;
        }
      }
    }

    OnlineSoftmax(scale, s, o, max, sum);

#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      if (kTail && k * 16 >= keys_left) continue;
      const uint32_t p[4] = {PackPair<T>(s[2 * k][0], s[2 * k][1]), PackPair<T>(s[2 * k][2], s[2 * k][3]),
                             PackPair<T>(s[2 * k + 1][0], s[2 * k + 1][1]), PackPair<T>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kHead / 16; ++n) {
        uint32_t b[4];
        LoadMatricesTransposed(b, Chunk(v_row, 2 * n) + k * 16 * kRowBytes);
        Mma<T>(o[2 * n], p, b[0], b[1]);
        Mma<T>(o[2 * n + 1], p, b[2], b[3]);
      }
    }
  }

  static __device__ __forceinline__ void Run(const AttentionArgs& args, uint32_t shared) {
    const int head = blockIdx.x % args.num_heads;
    const AttentionTile tile = args.tiles[blockIdx.x / args.num_heads];
    const int head_size = args.head_size;
    const int width = args.num_heads * head_size;
    const int64_t stride = 3 * static_cast<int64_t>(width);
    const T* q_matrix = static_cast<const T*>(args.qkv) + tile.begin * stride + head * head_size;
    const uint32_t q_tile = shared;
    const uint32_t k_tiles = q_tile + kQueries * kRowBytes;
    const uint32_t v_tiles = k_tiles + 2 * kTileBytes;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float scale = args.scale * kLog2E;

    const Copier copier(stride, head_size);
    const T* readable = static_cast<const T*>(args.qkv);
    const T* my_q = q_matrix + copier.row * stride + threadIdx.x % kCopyLanes * 8;
    const T* my_k = my_q + width;
    copier.template Copy<kQueries>(q_tile, my_q + tile.query * stride, readable, tile.length - tile.query);
    copier.template Copy<kKeys>(k_tiles, my_k, readable, tile.length);
    copier.template Copy<kKeys>(v_tiles, my_k + width, readable, tile.length);
    CommitCopies();

    // Rows that this lane points ldmatrix to.
    const uint32_t q_row = Chunk(Row(q_tile, warp * 16 + lane % 16), lane / 16);
    const uint32_t k_row = Chunk(Row(k_tiles, lane % 8 + lane / 16 * 8), lane / 8 % 2);
    const uint32_t v_row = Chunk(Row(v_tiles, lane % 16), lane / 16);

    uint32_t q[kHead / 16][4];
    float o[kHead / 8][4] = {};
    float max[2] = {-INFINITY, -INFINITY};  // of rows lane / 4 and lane / 4 + 8
    float sum[2] = {0.0f, 0.0f};            // this lane's part

    int stage = 0;
    for (int keys_left = tile.length; keys_left > 0; keys_left -= kKeys, stage ^= 1) {
      if (keys_left > kKeys) {
        my_k += kKeys * stride;
        const uint32_t next = (stage ^ 1) * kTileBytes;
        copier.template Copy<kKeys>(k_tiles + next, my_k, readable, keys_left - kKeys);
        copier.template Copy<kKeys>(v_tiles + next, my_k + width, readable, keys_left - kKeys);
      }
      CommitCopies();
      WaitForCopies<1>();
      __syncthreads();
      if (keys_left == tile.length) {
#pragma unroll
        for (int k = 0; k < kHead / 16; ++k) LoadMatrices(q[k], Chunk(q_row, 2 * k));
      }

      // Warps whose queries all lie beyond the sequence only help to copy.
      if (tile.query + warp * 16 < tile.length) {
        const uint32_t tiles = stage * kTileBytes;
        if (keys_left >= kKeys) {
          Step<false>(q, k_row + tiles, v_row + tiles, scale, keys_left, o, max, sum);
        } else {
          Step<true>(q, k_row + tiles, v_row + tiles, scale, keys_left, o, max, sum);
        }
      }
      __syncthreads();  // the next round loads over these tiles
    }

    // Through this warp's own rows of the Q tile, so that the stores to memory are 16 bytes wide.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / QuadSum(sum[r]);
      const uint32_t row = Row(q_tile, warp * 16 + lane / 4 + 8 * r);
#pragma unroll
      for (int n = 0; n < kHead / 8; ++n) {
        StoreShared(Chunk(row, n) + lane % 4 * 4, PackPair<T>(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse));
      }
    }
    __syncwarp();
    const int64_t first = (tile.begin + tile.query) * static_cast<int64_t>(width) + head * head_size;
#pragma unroll
    for (int i = lane; i < 16 * kChunks; i += 32) {
      const int row = warp * 16 + i / kChunks, chunk = i % kChunks;
      if (tile.query + row < tile.length && chunk * 8 < head_size) {
        StoreContext<T>(args, first + row * static_cast<int64_t>(width) + chunk * 8, LoadShared(Chunk(Row(q_tile, row), chunk)));
      }
    }
  }
};

template <typename T, int kHead>
__global__ void __launch_bounds__(AttentionMma<T, kHead>::kThreads, AttentionMma<T, kHead>::kBlocks)
    AttentionMmaKernel(const AttentionArgs args) {
  extern __shared__ __align__(128) char attention_shared[];  // Row() and Chunk() need whole rows of 128 bytes
  AttentionMma<T, kHead>::Run(args, static_cast<uint32_t>(__cvta_generic_to_shared(attention_shared)));
}

template <typename T, int kHead>
void LaunchAttentionMma(const AttentionArgs& args, cudaStream_t stream) {
  using Kernel = AttentionMma<T, kHead>;
  AttentionMmaKernel<T, kHead>
      <<<static_cast<unsigned>(args.num_tiles) * args.num_heads, Kernel::kThreads, Kernel::kSharedBytes, stream>>>(args);
}

template <int kHead>
void LaunchAttentionMma(const AttentionArgs& args, int dtype, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT16) {
    LaunchAttentionMma<__half, kHead>(args, stream);
  } else {
    LaunchAttentionMma<__nv_bfloat16, kHead>(args, stream);
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_MMA_CUH_
