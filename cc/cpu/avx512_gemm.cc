// Matrix products with AVX-512; see avx512_gemm.h.
//
// A panel of 32 columns at a time: 8 x 32 outputs in 16 registers. In each step four bytes of a row are broadcast from memory, and
// multiplied with two vectors of weights. k is visited in blocks, so that the block of the panel (16 KB) stays in the L1 cache while
// a's rows stream by from L2; the partial sums wait in scratch. The next block's weights are prefetched meanwhile.
//
// VNNI multiplies bytes without sign by bytes with sign. The weights are packed as w + 128; sums begin with -128 times the sum of
// the row of a, which undoes that.
#include "cc/cpu/avx512_gemm.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "cc/cpu/float_types.h"
#include "cc/cpu/own_kernels.h"

#if TF_FASTBERT_OWN_KERNELS
#include <immintrin.h>
// g++ 12 finds its own intrinsics' "undefined" values uninitialized.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")

namespace tf_fastbert {
namespace cpu {
namespace {

// clang-format off: the second uses the first
#include "cc/cpu/vector512.inc"
#include "cc/cpu/tile_epilogue.inc"
// clang-format on

constexpr int kRows = 8;        // of a register tile
constexpr int kBlockTiles = 8;  // k tiles of a block of weights, of 2 KB
constexpr int kSteps = 16;      // of a tile

enum class Kind { kFloat32, kFloat32TimesBFloat16, kBFloat16, kInt8 };

constexpr OperandType InputOf(Kind kind) {
  return kind == Kind::kInt8 ? OperandType::kInt8 : kind == Kind::kBFloat16 ? OperandType::kBFloat16 : OperandType::kFloat32;
}

TF_FASTBERT_ALWAYS_INLINE __m512 Broadcast(const char* four_bytes) {
  float value;
  std::memcpy(&value, four_bytes, 4);
  return _mm512_set1_ps(value);
}

// sum + a * b; int32 sums are kept as floats' bits.
template <Kind kKind>
TF_FASTBERT_ALWAYS_INLINE __m512 MultiplyAdd(__m512 a, __m512 b, __m512 sum) {
  if (kKind == Kind::kInt8) {
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), _mm512_castps_si512(b), _mm512_castps_si512(a)));
  }
  if (kKind == Kind::kBFloat16) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  return _mm512_fmadd_ps(a, b, sum);
}

template <Kind kKind>
TF_FASTBERT_ALWAYS_INLINE void Step(const char* a, __m512 low, __m512 high, __m512 (&sums)[kRows][2]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512 x = Broadcast(a + r * 64);
    sums[r][0] = MultiplyAdd<kKind>(x, low, sums[r][0]);
    sums[r][1] = MultiplyAdd<kKind>(x, high, sums[r][1]);
  }
}

// Fetches tiles of weights, for what comes next, in so many steps.
struct Prefetch {
  const char* next;
  const char* end;
  int64_t lines;  // a step

  Prefetch(const char* from, int tiles, int64_t steps)
      : next(from), end(from + tiles * 2 * kTileBytes), lines((tiles * 2 * kTileBytes / 64 + steps - 1) / steps) {}

  TF_FASTBERT_ALWAYS_INLINE void Step() {
    for (int64_t i = 0; i < lines && next < end; ++i, next += 64) _mm_prefetch(next, _MM_HINT_T1);
  }
};

// Eight rows of a times `tiles` tiles of weights, into the sums [8 of 16 rows][16] and the same 256 floats further, or added to
// what is there.
template <Kind kKind, typename Work>
TF_FASTBERT_ALWAYS_INLINE void MultiplyRows(const char* a, const char* b, int tiles, bool add, float* out, Work* work) {
  __m512 sums[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    sums[r][0] = add ? _mm512_loadu_ps(out + r * 16) : _mm512_setzero_ps();
    sums[r][1] = add ? _mm512_loadu_ps(out + 256 + r * 16) : _mm512_setzero_ps();
  }
  for (int t = 0; t < tiles; ++t, b += 2 * kTileBytes) {
    work->Step();
    if (kKind == Kind::kFloat32TimesBFloat16) {
      // A step of weights holds two values of k, the first in the low half; a tile of a is half as deep.
      const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
      for (int half = 0; half < 2; ++half, a += kTileBytes) {
#pragma GCC unroll 2
        for (int i = 0; i < kSteps / 2; ++i) {
          const char* weights = b + (half * kSteps / 2 + i) * 64;
          const __m512i low = _mm512_loadu_si512(weights), high = _mm512_loadu_si512(weights + kTileBytes);
          Step<kKind>(a + 8 * i, _mm512_castsi512_ps(_mm512_slli_epi32(low, 16)),
                      _mm512_castsi512_ps(_mm512_slli_epi32(high, 16)), sums);
          Step<kKind>(a + 8 * i + 4, _mm512_castsi512_ps(_mm512_and_si512(low, upper)),
                      _mm512_castsi512_ps(_mm512_and_si512(high, upper)), sums);
        }
      }
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kSteps; ++i) {
        Step<kKind>(a + i * 4, _mm512_loadu_ps(b + i * 64), _mm512_loadu_ps(b + kTileBytes + i * 64), sums);
      }
      a += kTileBytes;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(out + r * 16, sums[r][0]);
    _mm512_storeu_ps(out + 256 + r * 16, sums[r][1]);
  }
}

// Where eight rows of an operand in tiles begin.
TF_FASTBERT_ALWAYS_INLINE const char* RowsOf(const char* tiles, int row, int64_t row_tile_bytes) {
  return tiles + row / 16 * row_tile_bytes + row % 16 * 64;
}

// Their sums in a panel's.
TF_FASTBERT_ALWAYS_INLINE float* SumsOf(float* sums, int row) { return sums + row / 16 * 512 + row % 16 * 16; }

// kInt8: what each row's sums begin with, -128 times the sum of the row.
void FirstSums(const TileGemmTask& task, int32_t* first) {
  const int64_t row_tile_bytes = static_cast<int64_t>(task.depth) * 16;
  for (int row = 0; row < task.rows; ++row) {
    const char* line = RowsOf(static_cast<const char*>(task.a), row, row_tile_bytes);
    __m512i sum = _mm512_setzero_si512();
    for (int k = 0; k < task.depth; k += 64, line += kTileBytes) {
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_loadu_si512(line));
    }
    first[row] = -128 * _mm512_reduce_add_epi32(sum);
  }
}

void Begin(const int32_t* first, int rows, float* sums) {
  for (int row = 0; row < rows; ++row) {
    float* at = SumsOf(sums, row);
    const __m512i value = _mm512_set1_epi32(first[row]);
    _mm512_storeu_si512(at, value);
    _mm512_storeu_si512(at + 256, value);
  }
}

// Sizes of a task's operands.
template <Kind kKind>
struct Layout {
  static constexpr int kInputDepth = TileDepth(InputOf(kKind));
  static constexpr int kDepth = kKind == Kind::kFloat32TimesBFloat16 ? 32 : kInputDepth;  // of a tile of weights

  explicit Layout(const TileGemmTask& task)
      : tiles(task.depth / kDepth),
        row_tile_bytes(static_cast<int64_t>(task.depth) / kInputDepth * kTileBytes),
        panel_bytes(static_cast<int64_t>(task.k) / kDepth * 2 * kTileBytes) {}

  const char* Panel(const TileGemmTask& task, int column) const {
    return static_cast<const char*>(task.b) + column / kTilePanel * panel_bytes + task.first_depth / kDepth * 2 * kTileBytes;
  }

  const int tiles;  // of k
  const int64_t row_tile_bytes, panel_bytes;
};

// The sums of one panel's columns.
template <Kind kKind>
void MultiplyPanel(const TileGemmTask& task, const Layout<kKind>& layout, int column, const int32_t* first, float* sums) {
  const char* b = layout.Panel(task, column);
  const bool last_panel = column + kTilePanel >= task.first_column + task.columns;
  if (kKind == Kind::kInt8) Begin(first, task.rows, sums);
  for (int k = 0; k < layout.tiles; k += kBlockTiles) {
    const int block = std::min(kBlockTiles, layout.tiles - k);
    const char* a =
        static_cast<const char*>(task.a) + static_cast<int64_t>(k) * (layout.kDepth / layout.kInputDepth) * kTileBytes;
    const char* block_b = b + static_cast<int64_t>(k) * 2 * kTileBytes;
    const bool last_block = k + block == layout.tiles;
    const int next_tiles = std::min(kBlockTiles, last_block ? (last_panel ? 0 : layout.tiles) : layout.tiles - k - block);
    const char* next = last_block ? b + layout.panel_bytes : block_b + static_cast<int64_t>(block) * 2 * kTileBytes;
    Prefetch prefetch(next, next_tiles, block * (task.rows / kRows));
    for (int row = 0; row < task.rows; row += kRows) {
      MultiplyRows<kKind>(RowsOf(a, row, layout.row_tile_bytes), block_b, block, kKind == Kind::kInt8 || k > 0, SumsOf(sums, row),
                          &prefetch);
    }
  }
}

#include "cc/cpu/avx512_strassen.inc"

template <Kind kKind, TileEpilogue kEpilogue>
void Multiply(const TileGemmTask& task) {
  const Layout<kKind> layout(task);
  if (kKind == Kind::kFloat32 && task.rows >= kStrassenRows && task.columns % (2 * kTilePanel) == 0) {
    Strassen strassen(task);
    if (strassen.finite()) return strassen.Multiply<kEpilogue>();
  }
  float* sums = static_cast<float*>(task.scratch);
  int32_t* first = reinterpret_cast<int32_t*>(sums + static_cast<int64_t>(task.rows) * kTilePanel);
  if (kKind == Kind::kInt8) FirstSums(task, first);
  for (int column = task.first_column; column < task.first_column + task.columns; column += kTilePanel) {
    MultiplyPanel<kKind>(task, layout, column, first, sums);
    const PanelEpilogue<InputOf(kKind), kEpilogue> epilogue(task, sums, column);
    for (int row = 0; row < task.rows; ++row) epilogue.Row(row);
  }
}

template <Kind kKind>
void MultiplyAs(const TileGemmTask& task) {
  switch (task.epilogue) {
    case TileEpilogue::kFloat32: return Multiply<kKind, TileEpilogue::kFloat32>(task);
    case TileEpilogue::kBFloat16: return Multiply<kKind, TileEpilogue::kBFloat16>(task);
    case TileEpilogue::kAccumulate: return Multiply<kKind, TileEpilogue::kAccumulate>(task);
    case TileEpilogue::kGeluTanh: return Multiply<kKind, TileEpilogue::kGeluTanh>(task);
    case TileEpilogue::kGeluErf: return Multiply<kKind, TileEpilogue::kGeluErf>(task);
    case TileEpilogue::kRelu: return Multiply<kKind, TileEpilogue::kRelu>(task);
  }
}

// Seconds of some thousand instructions, by 16 independent sums.
template <Kind kKind>
double Measure() {
  __m512 sums[kRows][2] = {};
  alignas(64) char rows[kRows * 64] = {};
  const __m512 weights = _mm512_setzero_ps();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 400; ++i) Step<kKind>(rows + i % 16 * 4, weights, weights, sums);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  float total = 0;
  for (auto& row : sums) total += _mm512_reduce_add_ps(_mm512_add_ps(row[0], row[1]));
  volatile float used = total;  // so that the loop stays
  (void)used;
  return passed.count();
}

}  // namespace

void Avx512Gemm(const TileGemmTask& task) {
  if (task.type == OperandType::kInt8) return MultiplyAs<Kind::kInt8>(task);
  if (task.type == OperandType::kBFloat16) return MultiplyAs<Kind::kBFloat16>(task);
  if (task.weights == OperandType::kBFloat16) return MultiplyAs<Kind::kFloat32TimesBFloat16>(task);
  MultiplyAs<Kind::kFloat32>(task);
}

bool Bfloat16DotIsFast() {
  static const bool fast = [] {
    double dot = 1, float32 = 1;
    for (int i = 0; i < 20; ++i) {  // the fastest, since other processes interrupt
      dot = std::min(dot, Measure<Kind::kBFloat16>());
      float32 = std::min(float32, Measure<Kind::kFloat32>());
    }
    return dot < 1.5 * float32;  // one takes as much work as two
  }();
  return fast;
}

}  // namespace cpu
}  // namespace tf_fastbert

#else

namespace tf_fastbert {
namespace cpu {

// Never called: HasAvx512() is false.
void Avx512Gemm(const TileGemmTask&) {}
bool Bfloat16DotIsFast() { return false; }

}  // namespace cpu
}  // namespace tf_fastbert

#endif
