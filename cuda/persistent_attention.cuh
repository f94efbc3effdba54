// Attention of the persistent encoder: context = softmax(scale * Q K^T) V for 16 queries of one sequence and head at a time.
//
// There are few tokens, so latency counts: args.key_warps warps share the keys of one tile, 16 at a time each, with everything in
// registers and no staging in shared memory. That works because a dot product does not mind the order of its terms: a lane
// loads 16 bytes of a row of Q or K, and these eight neighbours serve as the operands of two steps of mma.sync. Likewise for
// V the column of the output that a lane's column stands for is free: lane g loads the g-th eighth of a row of V, and two rows
// interleaved are the operands for eight tiles of eight columns. At the end the warps' maxima, sums and outputs meet in
// shared memory, in fixed order.
#ifndef TF_FASTBERT_CUDA_PERSISTENT_ATTENTION_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_ATTENTION_CUH_

#include <cmath>

#include "cuda/persistent_rows.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kHead>
struct PersistentAttention {
  static constexpr int kQueries = kPersistentQueries;
  static constexpr int kChunks = kHead / 32;  // 16-byte loads of a lane for one row of Q or K
  static constexpr int kUnits = kHead / 8;    // tiles of 8 output columns, and elements of a row of V in one lane
  static constexpr int kRow = kHead + 4;      // floats between rows of the output in shared memory
  static constexpr int kWarpFloats = kQueries * kRow + 2 * kQueries;  // output, maxima, sums

  // Elements [lane / 4 * kUnits, + kUnits) of a row of V, as pairs.
  struct VRow {
    uint32_t pair[kUnits / 2];
    __device__ __forceinline__ void Load(const T* row) {
      const int g = threadIdx.x % 32 / 4;
      if constexpr (kHead == 64) {
        const uint4 v = __ldcg(reinterpret_cast<const uint4*>(row) + g);
        pair[0] = v.x, pair[1] = v.y, pair[2] = v.z, pair[3] = v.w;
      } else {
        const uint2 v = __ldcg(reinterpret_cast<const uint2*>(row) + g);
        pair[0] = v.x, pair[1] = v.y;
      }
    }
  };

  // One warp's part: keys part * 16 .. + 15, and every key_warps * 16 further.
  static __device__ __forceinline__ void Part(const PersistentArgs& args, const AttentionTile& tile, int head, int part,
                                              float* floats) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int64_t stride = 3 * static_cast<int64_t>(args.hidden);
    const T* q_matrix = static_cast<const T*>(args.qkv) + tile.begin * stride + head * kHead;
    const T* k_matrix = q_matrix + args.hidden;
    const T* v_matrix = k_matrix + args.hidden;
    const int last = tile.length - 1;

    uint32_t q[2][kChunks][4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const T* row = q_matrix + min(tile.query + g + 8 * r, last) * stride;
        const uint4 v = __ldcg(reinterpret_cast<const uint4*>(row) + c * 4 + t);
        q[r][c][0] = v.x, q[r][c][1] = v.y, q[r][c][2] = v.z, q[r][c][3] = v.w;
      }
    }

    float o[kUnits][4] = {};
    float max[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0.0f, 0.0f};
#pragma unroll 1
    for (int first = part * 16; first < tile.length; first += args.key_warps * 16) {
      uint32_t k[2][kChunks][4];
      VRow v[4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const T* row = k_matrix + min(first + n * 8 + g, last) * stride;
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          const uint4 x = __ldcg(reinterpret_cast<const uint4*>(row) + c * 4 + t);
          k[n][c][0] = x.x, k[n][c][1] = x.y, k[n][c][2] = x.z, k[n][c][3] = x.w;
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i].Load(v_matrix + min(first + 2 * t + i % 2 + i / 2 * 8, last) * stride);

      float s[2][4] = {};
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          const uint32_t a[4] = {q[0][c][i], q[1][c][i], q[0][c][i + 1], q[1][c][i + 1]};
          Mma<T>(s[0], a, k[0][c][i], k[0][c][i + 1]);
          Mma<T>(s[1], a, k[1][c][i], k[1][c][i + 1]);
        }
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = first + n * 8 + 2 * t + i % 2 > last ? -INFINITY : s[n][i] * args.scale;
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float new_max = fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]), fmaxf(s[1][2 * r], s[1][2 * r + 1]));
        new_max = fmaxf(new_max, __shfl_xor_sync(0xffffffffu, new_max, 1));
        new_max = fmaxf(new_max, __shfl_xor_sync(0xffffffffu, new_max, 2));
        new_max = fmaxf(new_max, max[r]);
        const float correction = Exp2(max[r] - new_max);
        max[r] = new_max;
        sum[r] *= correction;
#pragma unroll
        for (int n = 0; n < 2; ++n) {
#pragma unroll
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            s[n][i] = Exp2(s[n][i] - new_max);
            sum[r] += s[n][i];
          }
        }
#pragma unroll
        for (int j = 0; j < kUnits; ++j) {
          o[j][2 * r] *= correction;
          o[j][2 * r + 1] *= correction;
        }
      }
      const uint32_t p[4] = {PackPair<T>(s[0][0], s[0][1]), PackPair<T>(s[0][2], s[0][3]), PackPair<T>(s[1][0], s[1][1]),
                             PackPair<T>(s[1][2], s[1][3])};
#pragma unroll
      for (int j = 0; j < kUnits; ++j) {
        const uint32_t halves = j % 2 == 0 ? 0x5410 : 0x7632;
        Mma<T>(o[j], p, __byte_perm(v[0].pair[j / 2], v[1].pair[j / 2], halves),
               __byte_perm(v[2].pair[j / 2], v[3].pair[j / 2], halves));
      }
    }

    // Column 2t of tile j is output column 2t * kUnits + j, the one beside it (2t + 1) * kUnits + j.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
      float* row = floats + (g + 8 * r) * kRow + 2 * t * kUnits;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < kUnits; j += 4) {
          *reinterpret_cast<float4*>(row + i * kUnits + j) =
              make_float4(o[j][2 * r + i], o[j + 1][2 * r + i], o[j + 2][2 * r + i], o[j + 3][2 * r + i]);
        }
      }
      if (t == 0) {
        floats[kQueries * kRow + g + 8 * r] = max[r];
        floats[kQueries * kRow + kQueries + g + 8 * r] = sum[r];
      }
    }
  }

  // The parts of one tile, which begin at `floats`, are put together by the warps that made them.
  static __device__ __forceinline__ void Combine(const PersistentArgs& args, const AttentionTile& tile, int head, int part,
                                                 const float* floats) {
#pragma unroll 1
    for (int i = part * 32 + threadIdx.x % 32; i < kQueries * kUnits; i += args.key_warps * 32) {
      const int row = i / kUnits, unit = i % kUnits;
      if (tile.query + row >= tile.length) continue;
      float max = -INFINITY;
      for (int w = 0; w < args.key_warps; ++w) max = fmaxf(max, floats[w * kWarpFloats + kQueries * kRow + row]);
      float total = 0.0f, result[8] = {};
#pragma unroll 2
      for (int w = 0; w < args.key_warps; ++w) {
        const float* from = floats + w * kWarpFloats;
        const float weight = Exp2(from[kQueries * kRow + row] - max);
        total += weight * from[kQueries * kRow + kQueries + row];
        const float4 a = *reinterpret_cast<const float4*>(from + row * kRow + unit * 8);
        const float4 b = *reinterpret_cast<const float4*>(from + row * kRow + unit * 8 + 4);
        result[0] += weight * a.x, result[1] += weight * a.y, result[2] += weight * a.z, result[3] += weight * a.w;
        result[4] += weight * b.x, result[5] += weight * b.y, result[6] += weight * b.z, result[7] += weight * b.w;
      }
      const float inverse = 1.0f / total;
#pragma unroll
      for (int e = 0; e < 8; ++e) result[e] *= inverse;
      const int64_t token = tile.begin + tile.query + row;
      *reinterpret_cast<uint4*>(static_cast<T*>(args.context) + token * args.hidden + head * kHead + unit * 8) = Pack<T>(result);
    }
  }

  // All tiles of this block; `floats`: shared memory of kPersistentWarps * kWarpFloats.
  static __device__ __forceinline__ void Run(const PersistentArgs& args, float* floats) {
    const int warp = threadIdx.x / 32;
    const int group = warp / args.key_warps, part = warp % args.key_warps;
    const int groups = kPersistentWarps / args.key_warps;
    const int items = args.num_tiles * args.num_heads;
    // The first tile of every block comes before the second of any.
    for (int first = 0; first < items; first += groups * gridDim.x) {
      const int item = first + group * gridDim.x + blockIdx.x;
      AttentionTile tile = {};
      if (item < items) {
        tile = args.tiles[item / args.num_heads];
        Part(args, tile, item % args.num_heads, part, floats + warp * kWarpFloats);
      }
      __syncthreads();
      if (item < items) Combine(args, tile, item % args.num_heads, part, floats + group * args.key_warps * kWarpFloats);
      __syncthreads();
    }
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_ATTENTION_CUH_
