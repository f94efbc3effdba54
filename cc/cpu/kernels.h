// The kernels that oneDNN does not provide: attention, LayerNorm and conversions, compiled once per instruction set
// (kernels_<isa>.cc) and chosen at run time by what the CPU has.
#ifndef TF_FASTBERT_CC_CPU_KERNELS_H_
#define TF_FASTBERT_CC_CPU_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "cc/cpu/operand.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };

// A task takes at most so many queries; keys and values are visited in blocks of so many.
constexpr int kMaxQueriesPerTask = 512;
constexpr int kKeyBlock = 512;

// softmax(Q K^T / sqrt(D)) V for some queries of one head of one sequence, D = size_per_head.
// `query`, `key`, `value` point to row 0 of the sequence, column 0 of the head; rows are `row_stride` elements apart.
struct AttentionTask {
  const void* query;
  const void* key;
  const void* value;
  int64_t row_stride;
  Operand context;      // of all sequences and heads
  int64_t context_row;  // of the sequence's row 0
  int context_column;   // of the head's column 0
  int size_per_head;  // <= 128
  int num_keys;       // the sequence's valid tokens, > 0
  int first_query;    // queries [first_query, first_query + num_queries)
  int num_queries;    // <= kMaxQueriesPerTask
  void* scratch;      // AttentionScratchBytes(size_per_head) bytes, 64-byte aligned
};

// Enough for every kernel.
size_t AttentionScratchBytes(int size_per_head);

// y = (x - mean(x)) / sqrt(var(x) + epsilon) * gamma + beta over each of `rows` rows of `width` contiguous floats.
struct LayerNormTask {
  const float* x;
  int rows;
  int width;
  const float* gamma;
  const float* beta;
  float epsilon;
  float* out;             // null, or y as floats; may be `x`
  const Operand* operand;  // null, or y as an operand of that width, from row `operand_row` on
  int64_t operand_row;
};

struct Kernels {
  Isa isa;
  void (*attention_float)(const AttentionTask& task);
  void (*attention_bfloat16)(const AttentionTask& task);
  void (*layer_norm)(const LayerNormTask& task);
  void (*to_float)(DataType type, const void* source, float* out, int64_t count);
  void (*from_float)(DataType type, const float* source, void* out, int64_t count);
  // `count` elements of one row of an operand, from `column` on; with tiles, both are multiples of 32.
  void (*write_operand)(const float* source, int count, const Operand& operand, int64_t row, int column);
};

// Null where this build or this CPU lacks the instruction set.
const Kernels* KernelsFor(Isa isa);
const Kernels& BestKernels();

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_KERNELS_H_
