// Matrix products with AVX-512; see avx512_gemm.h.
//
// A panel of 32 columns at a time: 8 x 32 outputs in 16 registers. In each step four bytes of a row are broadcast from memory, and
// multiplied with two vectors of weights. k is visited in blocks, so that the block of the panel (24 KB) stays in the L1 cache while
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
#include "cc/cpu/strassen_layout.h"

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

#include "cc/cpu/avx512_rows.inc"

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

// A block's rows, and what becomes of the last block's, eight at a time while they are in the L1 cache: not a template of the
// epilogue, of which there would be too many copies of the inner loop.
template <Kind kKind>
struct PanelRows {
  void (*finish)(const void* epilogue, int row);
  const void* epilogue;
  const int32_t* first;  // kInt8
  float* sums;
  bool first_block, last_block;

  TF_FASTBERT_ALWAYS_INLINE void Begin(int row, __m512 (&values)[kRows][2]) const {
    if (!first_block) return LoadSums(SumsOf(sums, row), values);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      values[r][0] = values[r][1] =
          kKind == Kind::kInt8 ? _mm512_castsi512_ps(_mm512_set1_epi32(first[row + r])) : _mm512_setzero_ps();
    }
  }

  TF_FASTBERT_ALWAYS_INLINE void End(int row, const __m512 (&values)[kRows][2]) const {
    StoreSums(values, SumsOf(sums, row));
    if (last_block) finish(epilogue, row);
  }
};

template <typename Epilogue>
void FinishRows(const void* epilogue, int row) {
  for (int r = row; r < row + kRows; ++r) static_cast<const Epilogue*>(epilogue)->Row(r);
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

// One panel's columns.
template <Kind kKind>
void MultiplyPanel(const TileGemmTask& task, const Layout<kKind>& layout, int column, PanelRows<kKind> rows) {
  const char* b = layout.Panel(task, column);
  const bool last_panel = column + kTilePanel >= task.first_column + task.columns;
  for (int k = 0; k < layout.tiles; k += kBlockTiles) {
    const int block = std::min(kBlockTiles, layout.tiles - k);
    const char* a =
        static_cast<const char*>(task.a) + static_cast<int64_t>(k) * (layout.kDepth / layout.kInputDepth) * kTileBytes;
    const char* block_b = b + static_cast<int64_t>(k) * 2 * kTileBytes;
    const bool last_block = k + block == layout.tiles;
    const int next_tiles = std::min(kBlockTiles, last_block ? (last_panel ? 0 : layout.tiles) : layout.tiles - k - block);
    const char* next = last_block ? b + layout.panel_bytes : block_b + static_cast<int64_t>(block) * 2 * kTileBytes;
    Prefetch prefetch(next, next_tiles, block * (task.rows / kRows));
    rows.first_block = k == 0;
    rows.last_block = last_block;
    for (int row = 0; row < task.rows; row += kRows) {
      MultiplyRows<kKind>(RowsOf(a, row, layout.row_tile_bytes), block_b, block, row, rows, &prefetch);
    }
  }
}

// clang-format off: the second uses the first
#include "cc/cpu/avx512_strassen.inc"
#include "cc/cpu/avx512_two_levels.inc"
// clang-format on

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
    const PanelEpilogue<InputOf(kKind), kEpilogue> epilogue(task, sums, column);
    MultiplyPanel<kKind>(task, layout, column,
                         {FinishRows<PanelEpilogue<InputOf(kKind), kEpilogue>>, &epilogue, first, sums, false, false});
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
