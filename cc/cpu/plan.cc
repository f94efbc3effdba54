// Division into tasks and workspace layout; see plan.h.
#include "cc/cpu/plan.h"

#include <algorithm>

#include "cc/cpu/amx.h"
#include "cc/cpu/kernels.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {
namespace {

size_t Align(size_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What decides about blocks of rows. A product over m rows takes as long as m + `overhead` rows at full speed:
// reading the weights costs that much. Blocks of more than `largest` rows leave the L2 cache.
// Measured on one core of a Sapphire Rapids (AMX) and of an Emerald Rapids without AMX, BERT-base.
struct BlockCosts {
  int overhead;
  int largest;
  int inner_chunk;  // columns of the inner activations in cache at a time, where the depth can be divided
};

BlockCosts CostsOf(const OperandFormat& operand) {
  if (!operand.tiles) return operand.type == OperandType::kFloat32 ? BlockCosts{6, 128, 0} : BlockCosts{30, 256, 0};
  if (operand.planes() > 1) return {100, 256, 192};
  if (!HasAmx()) return operand.type == OperandType::kFloat32 ? BlockCosts{30, 256, 768} : BlockCosts{30, 256, 1536};
  return {100, 384, 768};
}

RowBlocks MakeBlocks(int64_t rows, int64_t block) {
  RowBlocks blocks;
  blocks.rows = static_cast<int>(rows);
  blocks.block = static_cast<int>(std::min(block, rows));
  blocks.count = static_cast<int>(CeilDivide(rows, blocks.block));
  blocks.tail = blocks.rows - (blocks.count - 1) * blocks.block;
  return blocks;
}

// Parts for about three tasks per thread.
ColumnParts DivideColumns(const Product& product, int row_blocks, int num_threads) {
  const int units = product.shape().n / product.granularity();
  const int64_t wanted = CeilDivide(3 * static_cast<int64_t>(num_threads), row_blocks);
  const int64_t parts = std::min<int64_t>(std::max<int64_t>(wanted, 1), units);
  const int per_part = static_cast<int>(CeilDivide(units, parts));
  return {per_part * product.granularity(), static_cast<int>(CeilDivide(units, per_part))};
}

}  // namespace

Division Divide(const EncoderConfig& config, const Policy& policy, const LayerProducts& products, int rows, int num_threads) {
  const BlockCosts costs = CostsOf(policy.operand);
  const int64_t padded = CeilDivide(rows, kRowGranularity) * kRowGranularity;
  // Costs are times of a layer's products, in rows at full speed.
  int64_t best = kRowGranularity;
  double best_cost = 1e300;
  for (int64_t block = kRowGranularity; block <= costs.largest; block += kRowGranularity) {
    const int64_t rounds = CeilDivide(CeilDivide(padded, block), num_threads);
    const double cost = static_cast<double>(rounds) * (block + costs.overhead);
    if (cost <= best_cost) {
      best_cost = cost;
      best = block;
    }
  }
  Division division;
  division.by_columns = false;
  division.blocks = MakeBlocks(padded, best);
  const int64_t inner_chunks = products.output->divides_depth() ? CeilDivide(config.inner_size, costs.inner_chunk) : 1;
  division.inner_chunk = static_cast<int>(CeilDivide(CeilDivide(config.inner_size, inner_chunks), 64) * 64);

  const RowBlocks blocks = MakeBlocks(padded, CeilDivide(CeilDivide(padded, CeilDivide(padded, costs.largest)), 16) * 16);
  const std::pair<const Product*, ColumnParts*> all[] = {{products.qkv.get(), &division.qkv},
                                                         {products.attention_output.get(), &division.attention_output},
                                                         {products.intermediate.get(), &division.intermediate},
                                                         {products.output.get(), &division.output}};
  constexpr double kWaiting = 2;  // of the additional steps
  double cost = 0, work = 0;
  for (const auto& product : all) {
    const ProductShape& shape = product.first->shape();
    *product.second = DivideColumns(*product.first, blocks.count, num_threads);
    const int64_t rounds = CeilDivide(static_cast<int64_t>(blocks.count) * product.second->parts, num_threads);
    cost += static_cast<double>(rounds) * (blocks.block + costs.overhead) * shape.k * product.second->columns;
    work += static_cast<double>(shape.k) * shape.n;
  }
  cost = cost / work + kWaiting;
  if (num_threads > 1 && cost < best_cost) {
    division.by_columns = true;
    division.blocks = blocks;
    division.inner_chunk = config.inner_size;
  } else {
    for (const auto& product : all) *product.second = {product.first->shape().n, 1};
  }
  return division;
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

Workspace LayOutWorkspace(const EncoderConfig& config, const Policy& policy, const Division& division, int queries_per_task,
                          int batch, int num_tokens, int phases, int workers, size_t product_scratch_bytes) {
  const size_t hidden = config.hidden_size, rows = division.blocks.rows;
  const OperandFormat& operand = policy.operand;
  Workspace workspace;
  size_t offset = 0;
  const auto take = [&offset](size_t bytes) {
    const size_t at = offset;
    offset += Align(bytes);
    return at;
  };
  workspace.residual = take(rows * hidden * sizeof(float));
  workspace.qkv = take(rows * 3 * hidden * SizeOf(policy.attention));
  workspace.context = take(operand.Bytes(rows, hidden));
  workspace.sequence_begin = take((static_cast<size_t>(batch) + 1) * sizeof(int32_t));
  workspace.row_source = take(static_cast<size_t>(num_tokens) * sizeof(int32_t));
  workspace.attention_order = take(static_cast<size_t>(batch) * sizeof(int32_t));
  workspace.max_attention_items = static_cast<size_t>(batch) + num_tokens / queries_per_task;
  workspace.attention_items = take(workspace.max_attention_items * sizeof(AttentionItem));
  workspace.phase_counters = take(phases * sizeof(PhaseCounter));
  if (division.by_columns) {
    workspace.normalized = take(operand.Bytes(rows, hidden));
    workspace.inner = take(operand.Bytes(rows, config.inner_size));
  }
  workspace.scratch = offset;

  offset = 0;
  if (!division.by_columns) {
    workspace.normalized = take(operand.Bytes(division.blocks.block, hidden));
    workspace.inner = take(operand.Bytes(division.blocks.block, division.inner_chunk));
  }
  workspace.product_scratch = take(product_scratch_bytes);
  workspace.scratch_stride = std::max(offset, AttentionScratchBytes(config.size_per_head));

  workspace.bytes = workspace.scratch + workers * workspace.scratch_stride;
  return workspace;
}

}  // namespace cpu
}  // namespace tf_fastbert
