// The tasks of one call and the layer loop; see forward.h.
#include "cc/cpu/forward.h"

#include <algorithm>

#include "cc/cpu/amx.h"
#include "cc/cpu/packing.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {
namespace {

// Phases of a layer, after the one that gathers the input.
constexpr int kStepsByRows = 2;  // attention, chain
enum Step { kQueryKeyValue, kAttention, kAttentionOutput, kNormalizeAttention, kIntermediate, kOutput, kFinishLayer };
constexpr int kStepsByColumns = kFinishLayer + 1;

}  // namespace

Status MakePlan(const EncoderConfig& config, const Policy& policy, const LayerProducts& products, int batch, int seq_len,
                int num_tokens, bool remove_padding, int num_threads, Plan* plan) {
  plan->workers = std::max(num_threads, 1);
  plan->division = Divide(config, policy, products, remove_padding ? num_tokens : batch * seq_len, plan->workers);
  plan->queries_per_task = QueriesPerTask(batch, num_tokens, config.num_heads, plan->workers);
  plan->phases = 1 + config.num_layers * (plan->division.by_columns ? kStepsByColumns : kStepsByRows);
  size_t scratch_bytes = 0;
  for (const auto* product : {&products.qkv, &products.attention_output, &products.intermediate, &products.output}) {
    const int depth = product == &products.output ? std::min(plan->division.inner_chunk, config.inner_size) : config.hidden_size;
    for (int rows : {plan->division.blocks.block, plan->division.blocks.tail}) {
      size_t bytes = 0;
      const Status status = (*product)->ScratchBytes(rows, depth, &bytes);
      if (!status.ok()) return status;
      scratch_bytes = std::max(scratch_bytes, bytes);
    }
  }
  plan->workspace = LayOutWorkspace(config, policy, plan->division, plan->queries_per_task, batch, num_tokens, plan->phases,
                                    plan->workers, scratch_bytes);
  return Status::Ok();
}

Forward::Forward(const EncoderConfig& config, const Policy& policy, const LayerProducts& products,
                 const CpuPreparedWeights& weights, const Plan& plan, const EncoderCall& call)
    : config_(config),
      policy_(policy),
      products_(products),
      weights_(weights),
      plan_(plan),
      call_(call),
      kernels_(BestKernels()),
      amx_(policy.operand.tiles && HasAmx()),
      base_(static_cast<char*>(call.workspace)),
      sequence_begin_(reinterpret_cast<int32_t*>(base_ + plan.workspace.sequence_begin)),
      row_source_(reinterpret_cast<int32_t*>(base_ + plan.workspace.row_source)),
      attention_items_(reinterpret_cast<AttentionItem*>(base_ + plan.workspace.attention_items)) {}

Status Forward::Run() {
  const Status status = IndexTokens(call_, sequence_begin_, row_source_);
  if (!status.ok()) return status;
  attention_tasks_ = config_.num_heads *
                     ListAttentionItems(sequence_begin_, call_.batch, plan_.queries_per_task,
                                        reinterpret_cast<int32_t*>(base_ + plan_.workspace.attention_order), attention_items_);
  return RunPhases(
      call_.parallel_for, plan_.workers, plan_.phases, reinterpret_cast<PhaseCounter*>(base_ + plan_.workspace.phase_counters),
      [this](int phase) { return CountTasks(phase); },
      [this](int64_t worker, int phase, int64_t task) { return RunPhase(worker, phase, task); });
}

int64_t Forward::CountTasks(int phase) const {
  const Division& division = plan_.division;
  const int64_t blocks = division.blocks.count, groups = division.blocks.rows / kRowGranularity;
  if (phase == 0) return (division.by_columns ? groups : blocks) + call_.batch;
  if (!division.by_columns) return (phase - 1) % kStepsByRows == 0 ? attention_tasks_ : blocks;
  switch ((phase - 1) % kStepsByColumns) {
    case kQueryKeyValue:
      return blocks * division.qkv.parts;
    case kAttention:
      return attention_tasks_;
    case kAttentionOutput:
      return blocks * division.attention_output.parts;
    case kIntermediate:
      return blocks * division.intermediate.parts;
    case kOutput:
      return blocks * division.output.parts;
    default:
      return groups;
  }
}

Status Forward::RunPhase(int64_t worker, int phase, int64_t task) const {
  const bool by_columns = plan_.division.by_columns;
  if (phase == 0) {
    const int64_t gathers = CountTasks(0) - call_.batch;
    if (task >= gathers) {
      const int slabs = config_.all_layers ? config_.num_layers : 1;
      ZeroPadding(call_, static_cast<int>(task - gathers), slabs, config_.hidden_size * SizeOf(config_.dtype));
      return Status::Ok();
    }
    const int first = static_cast<int>(task) * kRowGranularity;  // by columns
    const Rows rows = by_columns ? GetRows(worker, first, kRowGranularity) : GetBlock(worker, task);
    Gather(rows);
    return by_columns ? Status::Ok() : QueryKeyValue(0, rows, 0, 3 * config_.hidden_size);
  }
  if (by_columns) return RunStep((phase - 1) / kStepsByColumns, (phase - 1) % kStepsByColumns, worker, task);
  if ((phase - 1) % kStepsByRows == 0) return Attend((phase - 1) / kStepsByRows, worker, task);
  return RunChain((phase - 1) / kStepsByRows, GetBlock(worker, task));
}

Status Forward::RunStep(int layer, int step, int64_t worker, int64_t task) const {
  const Division& division = plan_.division;
  if (step == kAttention) return Attend(layer, worker, task);
  if (step == kNormalizeAttention || step == kFinishLayer) {
    const Rows rows = GetRows(worker, static_cast<int>(task) * kRowGranularity, kRowGranularity);
    if (step == kNormalizeAttention) NormalizeAttention(layer, rows);
    if (step == kFinishLayer) FinishLayer(layer, rows);
    return Status::Ok();
  }
  const ColumnParts& parts = step == kQueryKeyValue     ? division.qkv
                             : step == kAttentionOutput ? division.attention_output
                             : step == kIntermediate    ? division.intermediate
                                                        : division.output;
  const Rows rows = GetBlock(worker, task / parts.parts);
  const int first = static_cast<int>(task % parts.parts) * parts.columns;
  const auto columns = [&](int n) { return std::min(parts.columns, n - first); };
  if (step == kQueryKeyValue) return QueryKeyValue(layer, rows, first, columns(3 * config_.hidden_size));
  if (step == kAttentionOutput) return AttentionOutput(layer, rows, first, columns(config_.hidden_size));
  if (step == kIntermediate) return Intermediate(layer, rows, first, columns(config_.inner_size), /*chunk=*/0);
  return Output(layer, rows, first, columns(config_.hidden_size), 0, config_.inner_size);
}

Status Forward::RunChain(int layer, const Rows& rows) const {
  const int hidden = config_.hidden_size;
  Status status = AttentionOutput(layer, rows, 0, hidden);
  if (!status.ok()) return status;
  NormalizeAttention(layer, rows);
  for (int first = 0; first < config_.inner_size; first += plan_.division.inner_chunk) {
    const int inner = std::min(plan_.division.inner_chunk, config_.inner_size - first);
    status = Intermediate(layer, rows, first, inner, first);
    if (status.ok()) status = Output(layer, rows, 0, hidden, first, inner);
    if (!status.ok()) return status;
  }
  FinishLayer(layer, rows);
  return layer + 1 == config_.num_layers ? Status::Ok() : QueryKeyValue(layer + 1, rows, 0, 3 * hidden);
}

}  // namespace cpu
}  // namespace tf_fastbert
