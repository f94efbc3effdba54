// Packs weights; see tile_gemm.h.
#include "cc/cpu/tile_gemm.h"

#include <algorithm>
#include <cstring>

#include "cc/cpu/float_types.h"
#include "cc/cpu/strassen_layout.h"

namespace tf_fastbert {
namespace cpu {

// Two panels of sums, and a number for each row.
size_t TileGemmScratchBytes(OperandType type, int rows, int depth) {
  const size_t panels = static_cast<size_t>(rows) * (kTilePanel * 2 * sizeof(float) + sizeof(int32_t));
  if (type != OperandType::kFloat32) return panels;
  const StrassenLayout strassen(rows, depth / TileDepth(type), FitTwoLevels(rows));
  return std::max(panels, static_cast<size_t>(strassen.bytes));
}

size_t TileWeightsBytes(OperandType weights, int k, int n) { return OperandFormat{weights, true}.Bytes(n, k); }

void PackTileWeights(OperandType weights, bool bfloat16_source, bool shifted, const void* source, int k, int n, void* packed) {
  const int depth = TileDepth(weights), planes = Planes(weights), values = depth / 16, tiles = k / depth;
  char* out = static_cast<char*>(packed);
  for (int panel = 0; panel < n / kTilePanel; ++panel) {
    for (int tile = 0; tile < tiles; ++tile, out += planes * 2 * kTileBytes) {
      for (int i = 0; i < depth; ++i) {
        const int64_t from = static_cast<int64_t>(tile * depth + i) * n + panel * kTilePanel;
        for (int j = 0; j < kTilePanel; ++j) {
          char* at = out + j / 16 * kTileBytes + i / values * 64 + j % 16 * 4;
          if (weights == OperandType::kInt8) {
            at[i % 4] = static_cast<char>(static_cast<const char*>(source)[from + j] ^ (shifted ? 0x80 : 0));
          } else if (weights == OperandType::kFloat32) {
            std::memcpy(at, static_cast<const float*>(source) + from + j, 4);
          } else if (weights == OperandType::kBFloat16 && bfloat16_source) {
            std::memcpy(at + i % 2 * 2, static_cast<const uint16_t*>(source) + from + j, 2);
          } else {
            float rest = static_cast<const float*>(source)[from + j];
            for (int plane = 0; plane < planes; ++plane) {
              const uint16_t rounded = FloatToBFloat16(rest);
              std::memcpy(at + plane * 2 * kTileBytes + i % 2 * 2, &rounded, 2);
              rest -= BFloat16ToFloat(rounded);
            }
          }
        }
      }
    }
  }
}

}  // namespace cpu
}  // namespace tf_fastbert
