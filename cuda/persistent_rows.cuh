// Rows of activations for the persistent encoder: into shared memory as the left operand of a product, with LayerNorm on the way
// where one is due, and the last LayerNorm into the padded output.
//
// A warp takes whole rows, up to kBatch at once so that their loads are in flight together; a row stays in registers between
// its statistics and its use. Each block normalizes all rows of its tile by itself: that is cheaper than one more barrier.
#ifndef TF_FASTBERT_CUDA_PERSISTENT_ROWS_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_ROWS_CUH_

#include "cuda/mma.cuh"
#include "cuda/persistent.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

constexpr int kPersistentRowVectors = 4;  // 16-byte vectors of a row in each lane: rows of at most 1024 elements

template <typename T>
__device__ __forceinline__ void Unpack(const uint4& bits, float (&values)[8]) {
  const T* elements = reinterpret_cast<const T*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = ToFloat(elements[i]);
}

template <typename T>
__device__ __forceinline__ uint4 Pack(const float (&values)[8]) {
  return make_uint4(PackPair<T>(values[0], values[1]), PackPair<T>(values[2], values[3]), PackPair<T>(values[4], values[5]),
                    PackPair<T>(values[6], values[7]));
}

// This lane's part of a row of `vectors` vectors: vectors lane, lane + 32, ...
struct RowPart {
  uint4 v[kPersistentRowVectors];

  __device__ __forceinline__ void Load(const void* row, int vectors) {
    const uint4* from = static_cast<const uint4*>(row);
#pragma unroll
    for (int i = 0; i < kPersistentRowVectors; ++i) {
      const int vector = threadIdx.x % 32 + i * 32;
      if (vector < vectors) v[i] = __ldcg(from + vector);
    }
  }
};

// Mean and 1 / standard deviation of rows in float32, in one pass: the values are 16-bit, so a mean that is large beside the
// deviation has lost more digits before it gets here than the difference of the two sums loses.
template <typename T, int kCount>
__device__ __forceinline__ void Statistics(const RowPart (&rows)[kCount], int vectors, float epsilon, float (&mean)[kCount],
                                           float (&scale)[kCount]) {
  float sum[2 * kCount] = {};
#pragma unroll
  for (int i = 0; i < kPersistentRowVectors; ++i) {
    if (i * 32 >= vectors) break;
    const bool valid = threadIdx.x % 32 + i * 32 < vectors;
#pragma unroll
    for (int r = 0; r < kCount; ++r) {
      float x[8], a = 0.0f, b = 0.0f;
      Unpack<T>(rows[r].v[i], x);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        a += x[e];
        b += x[e] * x[e];
      }
      if (valid) {
        sum[2 * r] += a;
        sum[2 * r + 1] += b;
      }
    }
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
#pragma unroll
    for (int r = 0; r < 2 * kCount; ++r) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], offset);
  }
  const float share = 1.0f / (vectors * 8);
#pragma unroll
  for (int r = 0; r < kCount; ++r) {
    mean[r] = sum[2 * r] * share;
    scale[r] = rsqrtf(fmaxf(sum[2 * r + 1] * share - mean[r] * mean[r], 0.0f) + epsilon);
  }
}

// 8 elements of LayerNorm's result.
template <typename T>
__device__ __forceinline__ uint4 Normalize(const uint4& bits, float mean, float scale, const float (&gamma)[8],
                                           const float (&beta)[8]) {
  float x[8];
  Unpack<T>(bits, x);
  const float offset = -mean * scale;
#pragma unroll
  for (int e = 0; e < 8; ++e) x[e] = (x[e] * scale + offset) * gamma[e] + beta[e];
  return Pack<T>(x);
}

struct RowSource {
  const void* from;            // row r of the tile is from + map[r] * stride, or from + r * stride if there is no map
  const int32_t* map;
  int stride;                  // elements
  int vectors;                 // of a row
  int rows;                    // of the tile
  const void* gamma;           // null: no LayerNorm
  const void* beta;
  float epsilon;
  void* copy;                  // null, or where rows copy_first, copy_first + copy_step, ... go as well, densely
  int copy_first;
  int copy_step;
};

// Rows [0, source.rows) of a tile of at most kRows to shared memory, row_stride bytes apart. All threads.
template <typename T, int kRows>
__device__ __forceinline__ void LoadRows(const RowSource& source, const RowPart& gamma, const RowPart& beta, uint32_t to,
                                         int row_stride) {
  constexpr int kBatch = kRows / kPersistentWarps < 4 ? kRows / kPersistentWarps : 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
  for (int first = warp; first < source.rows; first += kBatch * kPersistentWarps) {
    RowPart rows[kBatch];
#pragma unroll
    for (int r = 0; r < kBatch; ++r) {
      const int row = min(first + r * kPersistentWarps, source.rows - 1);
      const int index = source.map == nullptr ? row : source.map[row];
      rows[r].Load(static_cast<const T*>(source.from) + static_cast<int64_t>(index) * source.stride, source.vectors);
    }
    float mean[kBatch], scale[kBatch];
    const bool normalize = source.gamma != nullptr;
    if (normalize) Statistics<T>(rows, source.vectors, source.epsilon, mean, scale);
#pragma unroll
    for (int i = 0; i < kPersistentRowVectors; ++i) {
      const int vector = lane + i * 32;
      if (i * 32 >= source.vectors) break;
      if (normalize) {
        float g[8], b[8];
        Unpack<T>(gamma.v[i], g);
        Unpack<T>(beta.v[i], b);
#pragma unroll
        for (int r = 0; r < kBatch; ++r) rows[r].v[i] = Normalize<T>(rows[r].v[i], mean[r], scale[r], g, b);
      }
      if (vector >= source.vectors) continue;
#pragma unroll
      for (int r = 0; r < kBatch; ++r) {
        const int row = first + r * kPersistentWarps;
        if (row < source.rows) StoreShared(to + row * row_stride + vector * 16, rows[r].v[i]);
      }
    }
    if (source.copy == nullptr) continue;
#pragma unroll
    for (int r = 0; r < kBatch; ++r) {
      const int row = first + r * kPersistentWarps;
      if (row >= source.rows || row % source.copy_step != source.copy_first) continue;
      uint4* copy = static_cast<uint4*>(source.copy) + row * source.vectors;
#pragma unroll
      for (int i = 0; i < kPersistentRowVectors; ++i) {
        if (lane + i * 32 < source.vectors) copy[lane + i * 32] = rows[r].v[i];
      }
    }
  }
}

// output[r] = LayerNorm(sum[token[r]]), or zero where r is padding. The warps of all blocks share the rows.
template <typename T>
__device__ __forceinline__ void StoreOutput(const PersistentArgs& args) {
  const int lane = threadIdx.x % 32;
  const int vectors = args.hidden / 8;
  const PackedLayer& layer = args.layers[args.num_layers - 1];
  RowPart gamma, beta;
  gamma.Load(layer.output_layer_norm_gamma, vectors);
  beta.Load(layer.output_layer_norm_beta, vectors);
  for (int row = blockIdx.x + threadIdx.x / 32 * gridDim.x; row < args.output_rows; row += gridDim.x * kPersistentWarps) {
    const int token = args.token == nullptr ? row : args.token[row];
    RowPart part[1] = {};
    if (token >= 0) {
      part[0].Load(static_cast<const T*>(args.sum) + static_cast<int64_t>(token) * args.hidden, vectors);
      float mean[1], scale[1];
      Statistics<T>(part, vectors, args.epsilon, mean, scale);
#pragma unroll
      for (int i = 0; i < kPersistentRowVectors; ++i) {
        float g[8], b[8];
        Unpack<T>(gamma.v[i], g);
        Unpack<T>(beta.v[i], b);
        part[0].v[i] = Normalize<T>(part[0].v[i], mean[0], scale[0], g, b);
      }
    }
    uint4* to = static_cast<uint4*>(args.output) + static_cast<int64_t>(row) * vectors;
#pragma unroll
    for (int i = 0; i < kPersistentRowVectors; ++i) {
      if (lane + i * 32 < vectors) to[lane + i * 32] = part[0].v[i];
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_ROWS_CUH_
