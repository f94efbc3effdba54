// Where Strassen's algorithm keeps its sums and products; see avx512_strassen.inc.
#ifndef TF_FASTBERT_CC_CPU_STRASSEN_LAYOUT_H_
#define TF_FASTBERT_CC_CPU_STRASSEN_LAYOUT_H_

#include <cstdint>

#include "cc/cpu/tile_gemm.h"

namespace tf_fastbert {
namespace cpu {

constexpr int kStrassenRows = 48;   // from here on one level is faster than none
constexpr int kTwoLevelRows = 128;  // and two levels than one
constexpr int kBlockTiles = 12;     // k tiles of a block of weights, of 2 KB
// Bytes between matrices that are read or written together: otherwise their lines compete for the same set of the L1 cache.
constexpr int kApart = 9 * 64;

// Rows of two levels are quartered, to multiples of 8.
constexpr bool FitTwoLevels(int rows) { return rows >= kTwoLevelRows && rows % 32 == 0; }

// One level: rows x k x a pair of panels.
struct HalvesLayout {
  constexpr HalvesLayout(int rows, int tiles)
      : half_rows(rows / 2),
        half_tiles(tiles / 2),
        half_row_tile_bytes(static_cast<int64_t>(half_tiles) * kTileBytes),
        product_floats(static_cast<int64_t>(half_rows + 15) / 16 * 16 * kTilePanel + kApart / 4),
        sum_bytes((half_rows + 15) / 16 * half_row_tile_bytes + kApart) {}

  constexpr int64_t products_bytes() const { return 7 * product_floats * 4; }
  constexpr int64_t s_bytes() const { return 4 * sum_bytes; }

  int half_rows, half_tiles;
  int64_t half_row_tile_bytes;
  int64_t product_floats;  // of one product
  int64_t sum_bytes;       // of one S
};

constexpr int kTBytes = kBlockTiles * 2 * kTileBytes + kApart;  // of a block of one T

// Byte offsets into the scratch of a task.
struct StrassenLayout {
  StrassenLayout(int rows, int tiles, bool two_levels) : outer(rows, tiles), inner(rows / 2, tiles / 2) {
    s = 0;
    t = s + outer.s_bytes();
    products = t + 4 * kTBytes;
    bytes = products + (two_levels ? inner : outer).products_bytes();
    if (!two_levels) return;
    wide_products = bytes;
    wide_t = wide_products + 7 * wide_product_bytes();
    inner_s = wide_t + 2 * half_panel_bytes();
    bytes = inner_s + 7 * inner.s_bytes();
  }

  constexpr int64_t wide_product_bytes() const { return static_cast<int64_t>(outer.half_rows) * 2 * kTilePanel * 4 + kApart; }
  constexpr int64_t half_panel_bytes() const { return outer.half_tiles * static_cast<int64_t>(2 * kTileBytes); }

  HalvesLayout outer, inner;
  int64_t s, t, products;
  int64_t wide_products = 0, wide_t = 0, inner_s = 0;  // two levels: of pairs of panels; the S of each outer product's operand
  int64_t bytes = 0;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_STRASSEN_LAYOUT_H_
