// How one call is divided into tasks, and where everything lies in its workspace.
#ifndef TF_FASTBERT_CC_CPU_PLAN_H_
#define TF_FASTBERT_CC_CPU_PLAN_H_

#include <cstddef>
#include <cstdint>

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

// `rows` > 0 is rounded up to kRowGranularity. Large blocks read the weights less often, small ones occupy more threads.
RowBlocks DivideRows(int rows, int num_threads, DataType compute);

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
  size_t qkv;              // compute [rows, 3 H]
  size_t context;          // compute [rows, H]: what attention gives
  size_t sequence_begin;   // int32 [batch + 1]: first packed row of each sequence
  size_t row_source;       // int32 [num_tokens]: b * seq_len + s of each packed row
  size_t attention_order;  // int32 [batch]: sequences, longest first
  size_t attention_items;  // AttentionItem [<= max_attention_items]
  size_t max_attention_items;

  size_t scratch;  // of worker 0; worker i's begins i * scratch_stride later
  size_t scratch_stride;
  // Within a worker's scratch, while it works on a row block (attention uses all of it):
  size_t normalized;  // compute [block, H]: input of the next product where it isn't the residual itself
  size_t inner;       // compute [block, I]
  size_t gemm;        // oneDNN's scratchpad

  size_t bytes;
};

Workspace LayOutWorkspace(const EncoderConfig& config, DataType compute, const RowBlocks& blocks, int queries_per_task, int batch,
                          int num_tokens, int workers, size_t gemm_scratch_bytes);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PLAN_H_
