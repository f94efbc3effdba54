// Attention for one AttentionTask in bfloat16 with AMX or AVX512_BF16; see bfloat16_attention.h.
//
// Flash style, as attention_kernel.inc: keys and values in blocks of kKeyBlock, packed once per task as right operands of tile
// products (pairs of bfloat16 values that belong to one sum lie side by side, which AVX512_BF16 wants too). For each 32 queries:
// scores of the block in float32, softmax in base 2 row by row, probabilities as bfloat16 in the tiles of a left operand, times
// the values. With several blocks the results are rescaled and added in float32. No S x S buffer; only valid tokens are visited.
#include "cc/cpu/bfloat16_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cc/cpu/float_types.h"
#include "cc/cpu/own_kernels.h"

#if TF_FASTBERT_OWN_KERNELS
#include <immintrin.h>
// g++ 12 finds its own intrinsics' "undefined" values uninitialized.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16,amx-int8")

namespace tf_fastbert {
namespace cpu {
namespace {

#include "cc/cpu/amx_tiles.inc"
#include "cc/cpu/vector512.inc"

constexpr int kTileBytes = 1024;
constexpr int kGroup = 32;  // queries
// Floats; not a multiple of the L1 cache's 4 KB.
constexpr int kScoreStride = kKeyBlock + 16;

// Within the scratch; D = size_per_head, P = kMaxQueriesPerTask.
struct Scratch {
  char* keys;           // [kKeyBlock / 16][D / 32] tiles
  char* values;         // [kKeyBlock / 32][D / 16] tiles
  char* queries;        // [2][D / 32] tiles
  char* probabilities;  // [2][kKeyBlock / 32] tiles
  float* scores;        // [kGroup][kScoreStride]
  float* products;      // [kGroup][D]
  float* accumulators;  // [P][D]
  float* maximum;       // [P]
  float* sum;           // [P]
};

size_t Lay(int depth, char* base, Scratch* s) {
  size_t offset = 0;
  const auto take = [&](size_t bytes) {
    char* at = base + offset;
    offset += (bytes + 63) / 64 * 64;
    return at;
  };
  s->keys = take(kKeyBlock * depth * 2);
  s->values = take(kKeyBlock * depth * 2);
  s->queries = take(kGroup * depth * 2);
  s->probabilities = take(kGroup * kKeyBlock * 2);
  s->scores = reinterpret_cast<float*>(take(kGroup * kScoreStride * sizeof(float)));
  s->products = reinterpret_cast<float*>(take(kGroup * depth * sizeof(float)));
  s->accumulators = reinterpret_cast<float*>(take(static_cast<size_t>(kMaxQueriesPerTask) * depth * sizeof(float)));
  s->maximum = reinterpret_cast<float*>(take(kMaxQueriesPerTask * sizeof(float)));
  s->sum = reinterpret_cast<float*>(take(kMaxQueriesPerTask * sizeof(float)));
  return offset;
}

#include "cc/cpu/bfloat16_packing.inc"

// MultiplyGroup with AMX.
TF_FASTBERT_ALWAYS_INLINE void MultiplyTiles(const char* a, const char* b, int64_t b_step, int64_t b_column, int steps,
                                             float* out, int64_t stride) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const char* a1 = a + steps * kTileBytes;
  for (int i = 0; i < steps; ++i, a += kTileBytes, a1 += kTileBytes, b += b_step) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + b_column, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  char* to = reinterpret_cast<char*>(out);
  _tile_stored(0, to, stride);
  _tile_stored(1, to + 64, stride);
  _tile_stored(2, to + 16 * stride, stride);
  _tile_stored(3, to + 16 * stride + 64, stride);
}

// out [32 rows][32 columns], `stride` bytes apart, = a [2][steps tiles] * b, whose two columns of tiles are b_column bytes apart
// and whose steps are b_step bytes apart. With AVX512_BF16: 8 rows at a time in 16 registers, until there are `rows`.
template <bool kAmx>
TF_FASTBERT_ALWAYS_INLINE void MultiplyGroup(int rows, const char* a, const char* b, int64_t b_step, int64_t b_column, int steps,
                                             float* out, int64_t stride) {
  if (kAmx) return MultiplyTiles(a, b, b_step, b_column, steps, out, stride);
  for (int row = 0; row < rows; row += 8) {
    const char* left = a + (row / 16 * steps * kTileBytes) + row % 16 * 64;
    const char* right = b;
    __m512 sums[8][2] = {};
    for (int i = 0; i < steps; ++i, left += kTileBytes, right += b_step) {
#pragma GCC unroll 16
      for (int pair = 0; pair < 16; ++pair) {
        const __m512i b0 = _mm512_load_si512(right + pair * 64), b1 = _mm512_load_si512(right + b_column + pair * 64);
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) {
          int32_t values;
          std::memcpy(&values, left + r * 64 + pair * 4, 4);
          const __m512i x = _mm512_set1_epi32(values);
          sums[r][0] = _mm512_dpbf16_ps(sums[r][0], (__m512bh)x, (__m512bh)b0);
          sums[r][1] = _mm512_dpbf16_ps(sums[r][1], (__m512bh)x, (__m512bh)b1);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      char* to = reinterpret_cast<char*>(out) + (row + r) * stride;
      _mm512_storeu_ps(to, sums[r][0]);
      _mm512_storeu_ps(to + 64, sums[r][1]);
    }
  }
}

// One row of scores -> probabilities 2^((score - maximum) * scale) as bfloat16, in lines of 32 that are a tile apart. Updates the
// running maximum and sum, and returns the factor for what was accumulated before.
TF_FASTBERT_ALWAYS_INLINE float SoftmaxRow(float* scores, int count, float scale, bool first_block, float* maximum, float* sum,
                                           char* line) {
  const int padded = (count + 31) / 32 * 32;
  for (int i = count; i < padded; ++i) scores[i] = -INFINITY;
  __m512 max0 = _mm512_load_ps(scores), max1 = _mm512_load_ps(scores + 16);
  for (int i = 32; i < padded; i += 32) {
    max0 = _mm512_max_ps(max0, _mm512_load_ps(scores + i));
    max1 = _mm512_max_ps(max1, _mm512_load_ps(scores + i + 16));
  }
  float max = _mm512_reduce_max_ps(_mm512_max_ps(max0, max1));
  if (!first_block) max = std::max(max, *maximum);
  // The difference first: the product of a large score would be rounded by more than the exponential bears.
  const __m512 factor = _mm512_set1_ps(scale), largest = _mm512_set1_ps(max);
  const auto power = [&](const float* at) { return Exp2<3>(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(at), largest), factor)); };
  __m512 sum0 = _mm512_setzero_ps(), sum1 = sum0;
  for (int i = 0; i < padded; i += 32, line += kTileBytes) {
    const __m512 low = power(scores + i), high = power(scores + i + 16);
    _mm512_store_si512(line, ToBFloat16(low, high));
    sum0 = _mm512_add_ps(sum0, low);
    sum1 = _mm512_add_ps(sum1, high);
  }
  const float total = _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
  const float rescale = first_block ? 0.0f : std::exp2((*maximum - max) * scale);
  *sum = first_block ? total : *sum * rescale + total;
  *maximum = max;
  return rescale;
}

template <OperandType kType>
void StoreContext(const AttentionTask& task, int query, const float* values, float sum) {
  const __m512 inverse = _mm512_set1_ps(1.0f / sum);
  for (int d = 0; d < task.size_per_head; d += 32) {
    char* line = OperandAddress(task.context, task.context_row + task.first_query + query, task.context_column + d);
    StoreOperand<kType>(line, _mm512_mul_ps(_mm512_load_ps(values + d), inverse),
                        _mm512_mul_ps(_mm512_load_ps(values + d + 16), inverse), task.context.scale);
  }
}

template <bool kAmx>
void Attend(const AttentionTask& task) {
  const int depth = task.size_per_head, depth_tiles = depth / 32;
  const float scale = 1.44269504088896341f / std::sqrt(static_cast<float>(depth));
  const uint16_t* query = static_cast<const uint16_t*>(task.query) + task.first_query * task.row_stride;
  const uint16_t* key = static_cast<const uint16_t*>(task.key);
  const uint16_t* value = static_cast<const uint16_t*>(task.value);
  Scratch s;
  Lay(depth, static_cast<char*>(task.scratch), &s);

  for (int first_key = 0; first_key < task.num_keys; first_key += kKeyBlock) {
    const int block = std::min(task.num_keys - first_key, kKeyBlock);
    const int steps = (block + 31) / 32;  // of 32 keys
    const bool first_block = first_key == 0, last_block = first_key + block == task.num_keys;
    PackKeys(key + first_key * task.row_stride, task.row_stride, block, depth, s.keys);
    PackValues(value + first_key * task.row_stride, task.row_stride, block, depth, s.values);
    for (int row = 0; row < task.num_queries; row += kGroup) {
      const int rows = std::min(task.num_queries - row, kGroup);
      PackQueries(query + row * task.row_stride, task.row_stride, rows, depth, s.queries);
      FinishStores();
      for (int i = 0; i < steps; ++i) {
        MultiplyGroup<kAmx>(rows, s.queries, s.keys + static_cast<int64_t>(i) * 2 * depth_tiles * kTileBytes, kTileBytes,
                      depth_tiles * kTileBytes, depth_tiles, s.scores + i * 32, kScoreStride * sizeof(float));
      }
      float rescale[kGroup];
      for (int r = 0; r < rows; ++r) {
        rescale[r] = SoftmaxRow(s.scores + r * kScoreStride, block, scale, first_block, s.maximum + row + r, s.sum + row + r,
                                s.probabilities + (r / 16 * steps * kTileBytes) + r % 16 * 64);
      }
      FinishStores();
      for (int d = 0; d < depth; d += 32) {
        MultiplyGroup<kAmx>(rows, s.probabilities, s.values + d / 16 * kTileBytes, depth / 16 * kTileBytes, kTileBytes, steps,
                            s.products + d, depth * sizeof(float));
      }
      for (int r = 0; r < rows; ++r) {
        float* product = s.products + r * depth;
        float* accumulator = s.accumulators + static_cast<int64_t>(row + r) * depth;
        for (int d = 0; d < depth && !(first_block && last_block); d += 16) {
          __m512 total = _mm512_load_ps(product + d);
          if (!first_block) total = _mm512_fmadd_ps(_mm512_load_ps(accumulator + d), _mm512_set1_ps(rescale[r]), total);
          _mm512_store_ps(last_block ? product + d : accumulator + d, total);
        }
        if (!last_block) continue;
        if (task.context.format.type == OperandType::kInt8) {
          StoreContext<OperandType::kInt8>(task, row + r, product, s.sum[row + r]);
        } else if (task.context.format.type == OperandType::kFloat32) {
          StoreContext<OperandType::kFloat32>(task, row + r, product, s.sum[row + r]);
        } else {
          StoreContext<OperandType::kBFloat16>(task, row + r, product, s.sum[row + r]);
        }
      }
    }
  }
}

}  // namespace

void AmxAttention(const AttentionTask& task) {
  const ConfiguredTiles configured;
  Attend<true>(task);
}

void Avx512Bfloat16Attention(const AttentionTask& task) { Attend<false>(task); }

size_t Bfloat16AttentionScratchBytes(int size_per_head) {
  Scratch unused;
  return Lay(size_per_head, nullptr, &unused);
}

}  // namespace cpu
}  // namespace tf_fastbert

#else

namespace tf_fastbert {
namespace cpu {

// Never called: HasAmx() and HasFastBFloat16() are false.
void AmxAttention(const AttentionTask&) {}
void Avx512Bfloat16Attention(const AttentionTask&) {}
size_t Bfloat16AttentionScratchBytes(int) { return 0; }

}  // namespace cpu
}  // namespace tf_fastbert

#endif
