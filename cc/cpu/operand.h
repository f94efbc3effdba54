// The layouts in which a product takes its left operand, [rows, width]; whoever computes the values writes them that way.
#ifndef TF_FASTBERT_CC_CPU_OPERAND_H_
#define TF_FASTBERT_CC_CPU_OPERAND_H_

#include <cstddef>
#include <cstdint>

#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

enum class OperandType {
  kFloat32,
  kBFloat16,
  kInt8,        // clamp(round(x * scale), -127, 127)
  kBFloat16x2,  // x as the sum of two bfloat16 values, each the rounded rest of those before it: 16 bits
  kBFloat16x3,  // three: float32's 24 bits
};

// Row-major, or in the tiles that AMX loads: [rows / 16][width * element bytes / 64][planes][16 rows][64 bytes]. A value's planes
// (one; two or three for kBFloat16x2 and x3) lie in as many tiles. Tiles want rows % 16 == 0 and width % 64 == 0.
struct OperandFormat {
  OperandType type = OperandType::kFloat32;
  bool tiles = false;

  int planes() const { return type == OperandType::kBFloat16x2 ? 2 : type == OperandType::kBFloat16x3 ? 3 : 1; }
  int element_bytes() const { return type == OperandType::kFloat32 ? 4 : type == OperandType::kInt8 ? 1 : 2; }
  size_t Bytes(size_t rows, size_t width) const { return rows * width * planes() * element_bytes(); }
};

// Where values go: the operand's width, and the quantization of kInt8 (127 / amax).
struct Operand {
  OperandFormat format;
  void* data = nullptr;
  int width = 0;
  float scale = 1;
};

// The address of plane 0 of element (row, column); with tiles, the next plane is 1024 bytes further.
inline char* OperandAddress(const Operand& operand, int64_t row, int64_t column) {
  const int64_t bytes = operand.format.element_bytes();
  char* data = static_cast<char*>(operand.data);
  if (!operand.format.tiles) return data + (row * operand.width + column) * bytes;
  const int64_t tile = row / 16 * (operand.width * bytes / 64) + column * bytes / 64;
  return data + (tile * operand.format.planes() * 16 + row % 16) * 64 + column * bytes % 64;
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_OPERAND_H_
