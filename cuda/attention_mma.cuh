// Attention for float16 and bfloat16 on tensor cores, flash style: context = softmax(scale * Q K^T) V, never writing the scores.
//
// qkv [tokens, 3, heads, D] and context [tokens, heads, D] are packed; a block takes 64 queries of one sequence and head (one entry
// of `tiles`), four warps of 16 queries each, and walks over that sequence's keys, 64 at a time (32 for large heads). So the work is
// proportional to the valid tokens; blocks of long sequences start first, and all heads of a tile run next to each other.
//
// K and V tiles are double-buffered in shared memory with cp.async: the next tile loads while this one is used. Q stays in registers.
// Scores are scaled into base 2 and the running maximum, sum and accumulators are float32 registers; P goes from the accumulators of
// Q K^T straight into the operand registers of P V. Shared rows are swizzled in 16-byte chunks, so ldmatrix has no bank conflicts.
// D below the compiled head size is filled up with zeros, which change no score; columns of V beyond D are not stored.
#ifndef TF_FASTBERT_CUDA_ATTENTION_MMA_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_MMA_CUH_

#include <cmath>

#include "cuda/attention.h"
#include "cuda/mma.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kHead>
struct AttentionMma {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kQueries = kWarps * 16;
  static constexpr int kKeys = kHead <= 64 ? 64 : 32;
  static constexpr int kChunks = kHead / 8;  // 16-byte chunks in a row
  static constexpr int kSharedBytes = (kQueries + 4 * kKeys) * kHead * 2;
  static_assert(kSharedBytes <= 48 * 1024, "more would need cudaFuncSetAttribute");

  // Where chunk `chunk` of row `row` of a tile is, in elements. Eight consecutive rows of one chunk fall into different banks.
  static __device__ __forceinline__ int Offset(int row, int chunk) {
    const int swizzle = kChunks % 8 == 0 ? row & 7 : (row >> 1) & 3;
    return (row * kChunks + (chunk ^ swizzle)) * 8;
  }

  // Rows [first, first + kRows) of a sequence, kHead columns; zeros beyond `length` rows and `head_size` columns.
  template <int kRows>
  static __device__ __forceinline__ void LoadTile(T* tile, const T* matrix, int first, int length, int64_t stride, int head_size) {
#pragma unroll
    for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool valid = first + row < length && chunk * 8 < head_size;
      CopyAsync16(tile + Offset(row, chunk), valid ? matrix + (first + row) * stride + chunk * 8 : matrix, valid);
    }
  }

  static __device__ __forceinline__ void Run(const AttentionArgs& args, T* shared) {
    const int head = blockIdx.x % args.num_heads;
    const AttentionTile tile = args.tiles[blockIdx.x / args.num_heads];
    const int head_size = args.head_size;
    const int width = args.num_heads * head_size;
    const int64_t stride = 3 * static_cast<int64_t>(width);
    const T* q_matrix = static_cast<const T*>(args.qkv) + tile.begin * stride + head * head_size;
    const T* k_matrix = q_matrix + width;
    const T* v_matrix = k_matrix + width;
    T* q_tile = shared;
    T* k_tiles = q_tile + kQueries * kHead;
    T* v_tiles = k_tiles + 2 * kKeys * kHead;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float scale = args.scale * 1.4426950408889634f;  // log2(e)

    LoadTile<kQueries>(q_tile, q_matrix, tile.query, tile.length, stride, head_size);
    LoadTile<kKeys>(k_tiles, k_matrix, 0, tile.length, stride, head_size);
    LoadTile<kKeys>(v_tiles, v_matrix, 0, tile.length, stride, head_size);
    CommitCopies();

    uint32_t q[kHead / 16][4];
    float o[kHead / 8][4] = {};
    float max[2] = {-INFINITY, -INFINITY};  // of rows lane / 4 and lane / 4 + 8
    float sum[2] = {0.0f, 0.0f};            // this lane's part
    const int num_key_tiles = (tile.length + kKeys - 1) / kKeys;

    for (int j = 0; j < num_key_tiles; ++j) {
      if (j + 1 < num_key_tiles) {
        const int next = ((j + 1) & 1) * kKeys * kHead;
        LoadTile<kKeys>(k_tiles + next, k_matrix, (j + 1) * kKeys, tile.length, stride, head_size);
        LoadTile<kKeys>(v_tiles + next, v_matrix, (j + 1) * kKeys, tile.length, stride, head_size);
      }
      CommitCopies();
      WaitForCopies<1>();
      __syncthreads();
      if (j == 0) {
#pragma unroll
        for (int k = 0; k < kHead / 16; ++k) LoadMatrices(q[k], q_tile + Offset(warp * 16 + lane % 16, k * 2 + lane / 16));
      }
      const T* k_tile = k_tiles + (j & 1) * kKeys * kHead;
      const T* v_tile = v_tiles + (j & 1) * kKeys * kHead;

      float s[kKeys / 8][4] = {};
#pragma unroll
      for (int k = 0; k < kHead / 16; ++k) {
#pragma unroll
        for (int n = 0; n < kKeys / 16; ++n) {
          uint32_t b[4];
          LoadMatrices(b, k_tile + Offset(n * 16 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
          Mma<T>(s[2 * n], q[k], b[0], b[1]);
          Mma<T>(s[2 * n + 1], q[k], b[2], b[3]);
        }
      }

      const int keys_left = tile.length - j * kKeys;
      if (keys_left < kKeys) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (n * 8 + lane % 4 * 2 + i % 2 >= keys_left) s[n][i] = -INFINITY;
          }
        }
      }

#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float new_max = max[r];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) new_max = fmaxf(new_max, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        new_max = fmaxf(new_max, __shfl_xor_sync(0xffffffffu, new_max, 1));
        new_max = fmaxf(new_max, __shfl_xor_sync(0xffffffffu, new_max, 2));
        const float correction = Exp2((max[r] - new_max) * scale);
        max[r] = new_max;
        sum[r] *= correction;
        const float offset = new_max * scale;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            s[n][i] = Exp2(s[n][i] * scale - offset);
            sum[r] += s[n][i];
          }
        }
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n) {
          o[n][2 * r] *= correction;
          o[n][2 * r + 1] *= correction;
        }
      }

#pragma unroll
      for (int k = 0; k < kKeys / 16; ++k) {
        const uint32_t p[4] = {PackPair<T>(s[2 * k][0], s[2 * k][1]), PackPair<T>(s[2 * k][2], s[2 * k][3]),
                               PackPair<T>(s[2 * k + 1][0], s[2 * k + 1][1]), PackPair<T>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < kHead / 16; ++n) {
          uint32_t b[4];
          LoadMatricesTransposed(b, v_tile + Offset(k * 16 + lane % 16, n * 2 + lane / 16));
          Mma<T>(o[2 * n], p, b[0], b[1]);
          Mma<T>(o[2 * n + 1], p, b[2], b[3]);
        }
      }
      __syncthreads();  // the next round loads over these tiles
    }

    // Through this warp's own rows of the Q tile, so that the stores to memory are 16 bytes wide.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = sum[r];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const float inverse = 1.0f / total;
#pragma unroll
      for (int n = 0; n < kHead / 8; ++n) {
        uint32_t* pair = reinterpret_cast<uint32_t*>(q_tile + Offset(warp * 16 + lane / 4 + 8 * r, n)) + lane % 4;
        *pair = PackPair<T>(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse);
      }
    }
    __syncwarp();
    T* context = static_cast<T*>(args.context) + tile.begin * static_cast<int64_t>(width) + head * head_size;
#pragma unroll
    for (int i = lane; i < 16 * kChunks; i += 32) {
      const int row = warp * 16 + i / kChunks, chunk = i % kChunks;
      if (tile.query + row < tile.length && chunk * 8 < head_size) {
        *reinterpret_cast<uint4*>(context + static_cast<int64_t>(tile.query + row) * width + chunk * 8) =
            *reinterpret_cast<const uint4*>(q_tile + Offset(row, chunk));
      }
    }
  }
};

template <typename T, int kHead>
__global__ void __launch_bounds__(AttentionMma<T, kHead>::kThreads) AttentionMmaKernel(const AttentionArgs args) {
  extern __shared__ uint4 attention_shared[];
  AttentionMma<T, kHead>::Run(args, reinterpret_cast<T*>(attention_shared));
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
