// Division into tasks and workspace layout; see plan.h.
#include "cc/cpu/plan.h"

#include <algorithm>

#include "cc/cpu/kernels.h"

namespace tf_fastbert {
namespace cpu {
namespace {

size_t Align(size_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

RowBlocks DivideRows(int rows, int num_threads, DataType compute) {
  // A product over m rows takes as long as m + `overhead` rows at full speed: reading the weights costs that much. Measured with
  // oneDNN on one core of a Sapphire Rapids, 768 x 3072: float32 6 rows, bfloat16 (AMX) 50 rows.
  const int64_t overhead = compute == DataType::kBFloat16 ? 50 : 6;
  const int largest = compute == DataType::kBFloat16 ? 256 : 128;
  const int64_t padded = CeilDivide(rows, kRowGranularity) * kRowGranularity;
  int best = kRowGranularity;
  int64_t best_cost = INT64_MAX;
  for (int block = kRowGranularity; block <= largest; block += kRowGranularity) {
    const int64_t rounds = CeilDivide(CeilDivide(padded, block), num_threads);
    const int64_t cost = rounds * (block + overhead);
    if (cost <= best_cost) {
      best_cost = cost;
      best = block;
    }
  }
  RowBlocks blocks;
  blocks.rows = static_cast<int>(padded);
  blocks.block = static_cast<int>(std::min<int64_t>(best, padded));
  blocks.count = static_cast<int>(CeilDivide(padded, blocks.block));
  blocks.tail = blocks.rows - (blocks.count - 1) * blocks.block;
  return blocks;
}

int QueriesPerTask(int batch, int num_tokens, int num_heads, int num_threads) {
  int queries = kMaxQueriesPerTask;
  // Four tasks per thread even out; one thread needs no division. Below 32 queries, packing the keys would cost too much.
  while (num_threads > 1 && queries > 32) {
    const int64_t items = std::max<int64_t>(batch, CeilDivide(num_tokens, queries));
    if (items * num_heads >= 4 * static_cast<int64_t>(num_threads)) break;
    queries /= 2;
  }
  return queries;
}

Workspace LayOutWorkspace(const EncoderConfig& config, DataType compute, const RowBlocks& blocks, int queries_per_task, int batch,
                          int num_tokens, int workers, size_t gemm_scratch_bytes) {
  const size_t hidden = config.hidden_size, rows = blocks.rows, block = blocks.block, element = SizeOf(compute);
  Workspace workspace;
  size_t offset = 0;
  const auto take = [&offset](size_t bytes) {
    const size_t at = offset;
    offset += Align(bytes);
    return at;
  };
  workspace.residual = take(rows * hidden * sizeof(float));
  workspace.qkv = take(rows * 3 * hidden * element);
  workspace.context = take(rows * hidden * element);
  workspace.sequence_begin = take((static_cast<size_t>(batch) + 1) * sizeof(int32_t));
  workspace.row_source = take(static_cast<size_t>(num_tokens) * sizeof(int32_t));
  workspace.attention_order = take(static_cast<size_t>(batch) * sizeof(int32_t));
  workspace.max_attention_items = static_cast<size_t>(batch) + num_tokens / queries_per_task;
  workspace.attention_items = take(workspace.max_attention_items * sizeof(AttentionItem));
  workspace.scratch = offset;

  offset = 0;
  workspace.normalized = take(block * hidden * element);
  workspace.inner = take(block * config.inner_size * element);
  workspace.gemm = take(gemm_scratch_bytes);
  workspace.scratch_stride = std::max(offset, AttentionScratchBytes(config.size_per_head));

  workspace.bytes = workspace.scratch + workers * workspace.scratch_stride;
  return workspace;
}

}  // namespace cpu
}  // namespace tf_fastbert
