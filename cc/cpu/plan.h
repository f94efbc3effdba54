// How one call is divided into tasks, and where everything lies in its workspace.
#ifndef TF_FASTBERT_CC_CPU_PLAN_H_
#define TF_FASTBERT_CC_CPU_PLAN_H_

#include <cstddef>
#include <cstdint>

#include "cc/cpu/policy.h"
#include "cc/cpu/weights.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// Rows come in multiples of this, so that few kernels are compiled. Rows that only fill up are zero.
constexpr int kRowGranularity = 16;

// The rows of the packed hidden states, divided into `count` blocks of `block` rows; the last has `tail`.
struct RowBlocks {
  int rows;
  int block;
  int tail;
  int count;

  int first(int64_t index) const { return static_cast<int>(index) * block; }
  int size(int64_t index) const { return index + 1 == count ? tail : block; }
};

// A product's columns, divided into `parts` of `columns`; the last may have fewer.
struct ColumnParts {
  int columns;
  int parts;
};

// Two ways. By rows: a block goes through a layer's whole chain of products in one task, while it is in cache. By columns, for
// few rows: the threads share each product's columns, so that each reads a part of the weights only, and wait for one another
// after each step.
struct Division {
  bool by_columns;
  RowBlocks blocks;
  ColumnParts qkv, attention_output, intermediate, output;  // by rows: one part
  int inner_chunk;  // by rows: the columns of the intermediate product that are computed and multiplied on at a time
};

Division Divide(const EncoderConfig& config, const Policy& policy, const LayerProducts& products, int rows, int num_threads);

// Some queries of one sequence, for every head.
struct AttentionItem {
  int sequence;
  int first_query;
};

// A multiple of 32, at most kMaxQueriesPerTask: as many queries as keep every thread busy.
int QueriesPerTask(int batch, int num_tokens, int num_heads, int num_threads);

// Byte offsets into the workspace; all are multiples of 64.
struct Workspace {
  size_t residual;         // float [rows, H]: the hidden states
  size_t qkv;              // policy.attention [rows, 3 H]; with tiles [3 * heads, rows, size per head]
  size_t context;          // operand [rows, H]: what attention gives
  size_t sequence_begin;   // int32 [batch + 1]: first packed row of each sequence
  size_t row_source;       // int32 [num_tokens]: b * seq_len + s of each packed row
  size_t attention_order;  // int32 [batch]: sequences, longest first
  size_t attention_items;  // AttentionItem [<= max_attention_items]
  size_t max_attention_items;
  size_t phase_counters;  // PhaseCounter [phases]

  size_t scratch;  // of worker 0; worker i's begins i * scratch_stride later
  size_t scratch_stride;
  size_t product_scratch;  // within a worker's scratch; attention uses all of it
  // Divided by columns: of all rows, in the workspace; by rows: of a block, within a worker's scratch.
  size_t normalized;  // operand [rows, H]: input of the next product where it isn't the residual itself
  size_t inner;       // operand [rows, I or inner_chunk]

  size_t bytes;
};

Workspace LayOutWorkspace(const EncoderConfig& config, const Policy& policy, const Division& division, int queries_per_task,
                          int batch, int num_tokens, int phases, int workers, size_t product_scratch_bytes);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PLAN_H_
