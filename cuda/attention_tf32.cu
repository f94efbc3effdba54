// Attention for float32 with TF32 products (10 bits of mantissa, float32 sums), flash style: context = softmax(scale * Q K^T) V.
//
// The same packed layouts, tiles and online softmax as attention_mma.cuh; a block of four warps takes 64 queries of one sequence
// and head, 16 a warp, and walks over the keys. Every operand is rounded to the nearest TF32 value when it enters a register; the
// tensor cores would cut it off.
//
// K and V tiles are double-buffered with cp.async, in rows padded by 4 floats: the eight rows of an ldmatrix, and the four pairs
// of rows that a warp reads of V, then lie in different banks. Q goes straight into registers. The accumulators of Q K^T hold
// keys 2t and 2t + 1 where the operand P wants t and t + 4 (t = lane % 4): the order of keys in a sum is free, so V's rows are
// read in that order instead. (H100, BERT-base, 6,144 tokens: 78 microseconds a layer, against 217 of attention_fp32.cu.)
#include <cmath>

#include "cuda/attention.h"
#include "cuda/mma.cuh"
#include "cuda/online_softmax.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kThreads = 128;

template <int kHead>
struct Shape {
  static constexpr int kKeys = kHead <= 64 ? 32 : 16;
  static constexpr int kStride = kHead + 4;  // floats in a row of a tile
  static constexpr int kTile = kKeys * kStride;
  static constexpr int kBlocks = kHead <= 64 ? 4 : 2;
};

// Rows `first` to `first` + kKeys of a sequence's matrix; zeros beyond `length` rows and `head_size` columns.
template <int kHead>
__device__ __forceinline__ void CopyTile(float* tile, const float* matrix, int64_t stride, int first, int length, int head_size) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(tile));
#pragma unroll
  for (int i = threadIdx.x; i < Shape<kHead>::kKeys * (kHead / 4); i += kThreads) {
    const int row = i / (kHead / 4), column = i % (kHead / 4) * 4;
    const bool valid = first + row < length && column < head_size;
    CopyAsync16(to + (row * Shape<kHead>::kStride + column) * 4, matrix + (valid ? (first + row) * stride + column : 0), valid);
  }
}

template <int kHead>
__global__ void __launch_bounds__(kThreads, Shape<kHead>::kBlocks) AttentionTf32Kernel(const AttentionArgs args) {
  constexpr int kKeys = Shape<kHead>::kKeys, kStride = Shape<kHead>::kStride, kTile = Shape<kHead>::kTile;
  __shared__ __align__(16) float k_tiles[2 * kTile];
  __shared__ __align__(16) float v_tiles[2 * kTile];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int head = blockIdx.x % args.num_heads;
  const AttentionTile tile = args.tiles[blockIdx.x / args.num_heads];
  const int width = args.num_heads * args.head_size;
  const int64_t stride = 3 * static_cast<int64_t>(width);
  const float* q_matrix = static_cast<const float*>(args.qkv) + tile.begin * stride + head * args.head_size;
  const float scale = args.scale * kLog2E;

  CopyTile<kHead>(k_tiles, q_matrix + width, stride, 0, tile.length, args.head_size);
  CopyTile<kHead>(v_tiles, q_matrix + 2 * width, stride, 0, tile.length, args.head_size);
  CommitCopies();

  const int first_query = tile.query + warp * 16;
  uint32_t q[kHead / 8][4];
#pragma unroll
  for (int k = 0; k < kHead / 8; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int query = first_query + g + i % 2 * 8, column = k * 8 + t + i / 2 * 4;
      const bool valid = query < tile.length && column < args.head_size;
      q[k][i] = ToTf32(valid ? q_matrix[query * stride + column] : 0.0f);
    }
  }

  float o[kHead / 8][4] = {};
  float max[2] = {-INFINITY, -INFINITY};  // of rows g and g + 8
  float sum[2] = {0.0f, 0.0f};            // this lane's part
  int stage = 0;
  for (int first = 0; first < tile.length; first += kKeys, stage ^= 1) {
    if (first + kKeys < tile.length) {
      const int next = (stage ^ 1) * kTile;
      CopyTile<kHead>(k_tiles + next, q_matrix + width, stride, first + kKeys, tile.length, args.head_size);
      CopyTile<kHead>(v_tiles + next, q_matrix + 2 * width, stride, first + kKeys, tile.length, args.head_size);
    }
    CommitCopies();
    WaitForCopies<1>();
    __syncthreads();
    if (first_query < tile.length) {
      const float* k_tile = k_tiles + stage * kTile;
      const float* v_tile = v_tiles + stage * kTile;
      const int keys_left = tile.length - first;

      float s[kKeys / 8][4] = {};
      // Matrices of 8 keys by 4 columns: lanes 0-7 point to the rows of the first, 8-15 of the next four columns, and so on.
      const uint32_t k_row = static_cast<uint32_t>(__cvta_generic_to_shared(k_tile + lane % 8 * kStride + lane / 8 * 4));
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        if (n * 8 >= keys_left) continue;
#pragma unroll
        for (int k = 0; k < kHead / 16; ++k) {
          uint32_t b[4];
          LoadMatrices(b, k_row + (n * 8 * kStride + k * 16) * 4);
#pragma unroll
          for (int i = 0; i < 4; ++i) b[i] = ToTf32(__uint_as_float(b[i]));
          MmaTf32(s[n], q[2 * k], b[0], b[1]);
          MmaTf32(s[n], q[2 * k + 1], b[2], b[3]);
        }
      }

#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (n * 8 + 2 * t + i % 2 >= keys_left) s[n][i] = -INFINITY;
        }
      }
      OnlineSoftmax(scale, s, o, max, sum);

#pragma unroll
      for (int k = 0; k < kKeys / 8; ++k) {
        if (k * 8 >= keys_left) continue;
        const uint32_t p[4] = {ToTf32(s[k][0]), ToTf32(s[k][2]), ToTf32(s[k][1]), ToTf32(s[k][3])};
        const float* v = v_tile + (k * 8 + 2 * t) * kStride + g;
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n) MmaTf32(o[n], p, ToTf32(v[n * 8]), ToTf32(v[n * 8 + kStride]));
      }
    }
    __syncthreads();  // the next round loads over these tiles
  }

  float* context = static_cast<float*>(args.context) + tile.begin * static_cast<int64_t>(width) + head * args.head_size;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float inverse = 1.0f / QuadSum(sum[r]);
    const int query = first_query + g + 8 * r;
    if (query >= tile.length) continue;
#pragma unroll
    for (int n = 0; n < kHead / 8; ++n) {
      if (n * 8 + 2 * t < args.head_size) {
        *reinterpret_cast<float2*>(context + static_cast<int64_t>(query) * width + n * 8 + 2 * t) =
            make_float2(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse);
      }
    }
  }
}

template <int kHead>
void Launch(const AttentionArgs& args, cudaStream_t stream) {
  AttentionTf32Kernel<kHead><<<static_cast<unsigned>(args.num_tiles) * args.num_heads, kThreads, 0, stream>>>(args);
}

}  // namespace

void LaunchAttentionTf32(const AttentionArgs& args, cudaStream_t stream) {
  if (args.head_size <= 32) return Launch<32>(args, stream);
  if (args.head_size <= 64) return Launch<64>(args, stream);
  if (args.head_size <= 96) return Launch<96>(args, stream);
  Launch<128>(args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
