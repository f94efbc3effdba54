// One matrix product with AMX in the calling thread: out [rows, columns] = epilogue(a [rows, k] * b [k, columns]).
//
// Both operands lie in tiles: a as operand.h has it, b packed once by PackAmxWeights into panels of 32 columns. Types: kBFloat16
// and kInt8 as they are; kBFloat16x3 is a float32 product, computed as the six bfloat16 products of the planes that matter
// (1*1, 1*2, 2*1, 2*2, 1*3, 3*1; what is left out is below 2^-26), with float32's error; kBFloat16x2 takes three (2^-16).
#ifndef TF_FASTBERT_CC_CPU_AMX_GEMM_H_
#define TF_FASTBERT_CC_CPU_AMX_GEMM_H_

#include <cstddef>
#include <cstdint>

#include "cc/cpu/operand.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

constexpr int kAmxPanel = 32;

enum class AmxEpilogue {
  kFloat32,      // rows of floats
  kBFloat16,     // rows of bfloat16
  kAccumulate,   // added to rows of floats
  kGeluTanh,     // these three into an operand of the same type
  kGeluErf,
  kRelu,
};

struct AmxGemmTask {
  OperandType type;
  const void* a;  // rows of exactly `depth` columns
  const void* b;  // the packed weights [k, n]
  int rows;       // multiple of 16
  int k;
  int first_depth, depth;     // rows of b to multiply with, multiples of 64
  int first_column, columns;  // multiples of 32
  const float* bias;          // [columns of the whole product], or null
  const float* scales;        // the same, kInt8: factor of the int32 sum before the bias
  AmxEpilogue epilogue;
  void* out;  // row 0, column 0 of the whole product
  int64_t out_stride;
  Operand out_operand;  // for the last three; its row 0 is row 0 of a, its column 0 is column `operand_column`
  int operand_column;
  void* scratch;        // AmxGemmScratchBytes(rows)
};

size_t AmxGemmScratchBytes(int rows);

// Bytes of packed weights [k, n].
size_t AmxWeightsBytes(OperandType type, int k, int n);

// `source` [k, n], row-major: int8 for kInt8, bfloat16 for kBFloat16, else float.
void PackAmxWeights(OperandType type, const void* source, int k, int n, void* packed);

// Needs HasAmx().
void AmxGemm(const AmxGemmTask& task);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AMX_GEMM_H_
