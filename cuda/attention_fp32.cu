// Attention for float32, flash style, in float32 arithmetic throughout: context = softmax(scale * Q K^T) V.
//
// The same packed layouts and tiles as attention_mma.cuh; a block of 16 x 16 threads takes 64 queries (32 for heads above 64) of
// one sequence and head and walks over the keys, 32 at a time. Thread (x, y) computes scores of kRows queries from y * kRows with
// keys x and x + 16, and the same queries' context columns x, x + 16, ... Rows of Q and K are padded by 4 floats: 16-byte reads
// of 8 neighbour keys then touch all banks once. K and V share a buffer. Plain FFMA: in float32 the time is in the matrix
// products, not here.
#include <cmath>

#include "cuda/attention.h"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kKeys = 32;

template <int kHead>
constexpr int kQueries = kHead <= 64 ? 64 : 32;  // must agree with PlanAttention

// Rows [first, first + rows) of a sequence; zeros beyond `length` rows and `head_size` columns.
template <int kHead>
__device__ __forceinline__ void LoadTile(float* tile, const float* matrix, int rows, int first, int length, int64_t stride,
                                         int head_size) {
  for (int i = threadIdx.x; i < rows * (kHead / 4); i += kThreads) {
    const int row = i / (kHead / 4), column = i % (kHead / 4) * 4;
    float4 value = {0.0f, 0.0f, 0.0f, 0.0f};
    if (first + row < length && column < head_size)
      value = *reinterpret_cast<const float4*>(matrix + (first + row) * stride + column);
    *reinterpret_cast<float4*>(tile + row * (kHead + 4) + column) = value;
  }
}

template <int kHead>
__global__ void __launch_bounds__(kThreads) AttentionFp32Kernel(const AttentionArgs args) {
  constexpr int kStride = kHead + 4;
  constexpr int kRows = kQueries<kHead> / 16;
  constexpr int kColumns = kHead / 16;
  __shared__ __align__(16) float q_tile[kQueries<kHead> * kStride];
  __shared__ __align__(16) float kv_tile[kKeys * kStride];
  __shared__ __align__(16) float p_tile[kQueries<kHead> * (kKeys + 4)];
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  const int head = blockIdx.x % args.num_heads;
  const AttentionTile tile = args.tiles[blockIdx.x / args.num_heads];
  const int width = args.num_heads * args.head_size;
  const int64_t stride = 3 * static_cast<int64_t>(width);
  const float* q_matrix = static_cast<const float*>(args.qkv) + tile.begin * stride + head * args.head_size;
  const float scale = args.scale * kLog2E;

  LoadTile<kHead>(q_tile, q_matrix, kQueries<kHead>, tile.query, tile.length, stride, args.head_size);
  float o[kRows][kColumns] = {};
  float max[kRows], sum[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) max[r] = -INFINITY, sum[r] = 0.0f;

  for (int first = 0; first < tile.length; first += kKeys) {
    LoadTile<kHead>(kv_tile, q_matrix + width, kKeys, first, tile.length, stride, args.head_size);
    __syncthreads();
    float s[kRows][2] = {};
#pragma unroll 4
    for (int d = 0; d < kHead; d += 4) {
      float4 k[2];
#pragma unroll
      for (int c = 0; c < 2; ++c) k[c] = *reinterpret_cast<const float4*>(kv_tile + (x + 16 * c) * kStride + d);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 q = *reinterpret_cast<const float4*>(q_tile + (y * kRows + r) * kStride + d);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          s[r][c] = fmaf(q.x, k[c].x, fmaf(q.y, k[c].y, fmaf(q.z, k[c].z, fmaf(q.w, k[c].w, s[r][c]))));
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float new_max = max[r];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        if (first + x + 16 * c >= tile.length) s[r][c] = -INFINITY;
        new_max = fmaxf(new_max, s[r][c]);
      }
#pragma unroll
      for (int lane = 8; lane > 0; lane /= 2) new_max = fmaxf(new_max, __shfl_xor_sync(0xffffffffu, new_max, lane));
      const float correction = exp2f((max[r] - new_max) * scale);
      max[r] = new_max;
      sum[r] *= correction;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float p = exp2f((s[r][c] - new_max) * scale);
        sum[r] += p;
        p_tile[(y * kRows + r) * (kKeys + 4) + x + 16 * c] = p;
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) o[r][c] *= correction;
    }
    __syncthreads();  // K has been read, P written
    LoadTile<kHead>(kv_tile, q_matrix + 2 * width, kKeys, first, tile.length, stride, args.head_size);
    __syncthreads();
#pragma unroll 2
    for (int key = 0; key < kKeys; key += 4) {
      float4 p[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) p[r] = *reinterpret_cast<const float4*>(p_tile + (y * kRows + r) * (kKeys + 4) + key);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float* v = kv_tile + key * kStride + x + 16 * c;
        const float v0 = v[0], v1 = v[kStride], v2 = v[2 * kStride], v3 = v[3 * kStride];
#pragma unroll
        for (int r = 0; r < kRows; ++r) o[r][c] = fmaf(p[r].x, v0, fmaf(p[r].y, v1, fmaf(p[r].z, v2, fmaf(p[r].w, v3, o[r][c]))));
      }
    }
    __syncthreads();  // V and P have been read
  }

  float* context = static_cast<float*>(args.context) + tile.begin * static_cast<int64_t>(width) + head * args.head_size;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float total = sum[r];
#pragma unroll
    for (int lane = 8; lane > 0; lane /= 2) total += __shfl_xor_sync(0xffffffffu, total, lane);
    const int query = tile.query + y * kRows + r;
    if (query >= tile.length) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (x + 16 * c < args.head_size) context[static_cast<int64_t>(query) * width + x + 16 * c] = o[r][c] / total;
    }
  }
}

template <int kHead>
void Launch(const AttentionArgs& args, cudaStream_t stream) {
  AttentionFp32Kernel<kHead><<<static_cast<unsigned>(args.num_tiles) * args.num_heads, kThreads, 0, stream>>>(args);
}

}  // namespace

void LaunchAttentionFp32(const AttentionArgs& args, cudaStream_t stream) {
  if (args.head_size <= 32) return Launch<32>(args, stream);
  if (args.head_size <= 64) return Launch<64>(args, stream);
  if (args.head_size <= 96) return Launch<96>(args, stream);
  Launch<128>(args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
