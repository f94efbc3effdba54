// What the matrix products over operands in tiles (operand.h) share: the task, and the packed weights.
//
// Weights [k, n] are packed into panels of 32 columns, [n / 32][k / depth][planes][2][16 steps][16 columns][4 bytes]: the 4 bytes
// are the values of k that one instruction takes together. Two kernels: amx_gemm.h and avx512_gemm.h.
#ifndef TF_FASTBERT_CC_CPU_TILE_GEMM_H_
#define TF_FASTBERT_CC_CPU_TILE_GEMM_H_

#include <cstddef>
#include <cstdint>

#include "cc/cpu/operand.h"

namespace tf_fastbert {
namespace cpu {

constexpr int kTilePanel = 32;    // columns
constexpr int kTileBytes = 1024;  // 16 rows of 64

constexpr int Planes(OperandType type) { return type == OperandType::kBFloat16x3 ? 3 : type == OperandType::kBFloat16x2 ? 2 : 1; }
// Values of k in a tile.
constexpr int TileDepth(OperandType type) { return type == OperandType::kInt8 ? 64 : type == OperandType::kFloat32 ? 16 : 32; }

enum class TileEpilogue {
  kFloat32,     // rows of floats
  kBFloat16,    // rows of bfloat16
  kAccumulate,  // added to rows of floats
  kGeluTanh,    // these three into an operand of the same type
  kGeluErf,
  kRelu,
};

// One product in the calling thread: out [rows, columns] = epilogue(a [rows, k] * b [k, columns]).
struct TileGemmTask {
  OperandType type;     // of a
  OperandType weights;  // of b: the same, or kBFloat16 with a kFloat32
  const void* a;        // rows of exactly `depth` columns
  const void* b;        // the packed weights [k, n]
  int rows;             // multiple of 16
  int k;
  int first_depth, depth;     // rows of b to multiply with, multiples of 64
  int first_column, columns;  // multiples of 32
  const float* bias;          // [columns of the whole product], or null
  const float* scales;        // the same, kInt8: factor of the int32 sum before the bias
  TileEpilogue epilogue;
  void* out;  // row 0, column 0 of the whole product
  int64_t out_stride;
  int out_group = 0;             // 0, or a multiple of 32: out holds groups of so many columns,
  int64_t out_group_stride = 0;  // so many values apart
  Operand out_operand;           // for the last three; its row 0 is row 0 of a, its column 0 is column `operand_column`
  int operand_column;
  void* scratch;  // TileGemmScratchBytes(type, rows, depth)
};

size_t TileGemmScratchBytes(OperandType type, int rows, int depth);

// Bytes of packed weights [k, n].
size_t TileWeightsBytes(OperandType weights, int k, int n);

// `source` [k, n], row-major: int8 for kInt8; bfloat16 for kBFloat16 if `bfloat16_source`; else float. kInt8 is packed as value +
// 128 if `shifted`, which avx512_gemm.h wants. `packed` is 64-byte aligned.
void PackTileWeights(OperandType weights, bool bfloat16_source, bool shifted, const void* source, int k, int n, void* packed);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_TILE_GEMM_H_
