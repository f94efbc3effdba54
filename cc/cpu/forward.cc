// The tasks of one call; see forward.h.
#include "cc/cpu/forward.h"

#include <algorithm>
#include <cstring>

#include "cc/cpu/amx.h"
#include "cc/cpu/bfloat16_attention.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/packing.h"
#include "cc/cpu/parallel.h"
#include "cc/cpu/tiles_layer_norm.h"

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
    for (int rows : {plan->division.blocks.block, plan->division.blocks.tail}) {
      size_t bytes = 0;
      const Status status = (*product)->ScratchBytes(rows, &bytes);
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

Forward::Rows Forward::GetRows(int64_t worker, int first, int count) const {
  const Workspace& workspace = plan_.workspace;
  Rows rows;
  rows.first = first;
  rows.count = count;
  char* scratch = base_ + workspace.scratch + worker * workspace.scratch_stride;
  rows.residual = reinterpret_cast<float*>(base_ + workspace.residual) + static_cast<int64_t>(first) * config_.hidden_size;
  rows.scratch = scratch + workspace.product_scratch;
  if (plan_.division.by_columns) {
    rows.normalized = base_ + workspace.normalized + policy_.operand.Bytes(first, config_.hidden_size);
    rows.inner = base_ + workspace.inner + policy_.operand.Bytes(first, config_.inner_size);
  } else {
    rows.normalized = scratch + workspace.normalized;
    rows.inner = scratch + workspace.inner;
  }
  return rows;
}

Forward::Rows Forward::GetBlock(int64_t worker, int64_t index) const {
  return GetRows(worker, plan_.division.blocks.first(index), plan_.division.blocks.size(index));
}

Operand Forward::InputOperand(const Rows& rows, float scale) const {
  const bool is_residual = policy_.operand.type == OperandType::kFloat32 && !policy_.operand.tiles && !pre();
  return {policy_.operand, is_residual ? static_cast<void*>(rows.residual) : rows.normalized, config_.hidden_size, scale};
}

Operand Forward::ContextOperand(float scale) const {
  return {policy_.operand, base_ + plan_.workspace.context, config_.hidden_size, scale};
}

// Copies the tokens of the rows and makes the first layer's input of them. Rows beyond the tokens are zeroed, also in
// the context, where attention writes only tokens.
void Forward::Gather(const Rows& rows) const {
  const int64_t hidden = config_.hidden_size;
  const int tokens = std::min(std::max(call_.num_tokens - rows.first, 0), rows.count);
  for (int r = 0; r < tokens; ++r) {
    const int64_t source = row_source_[rows.first + r] * hidden;
    kernels_.to_float(config_.dtype, static_cast<const char*>(call_.input) + source * SizeOf(config_.dtype),
                      rows.residual + r * hidden, hidden);
  }
  const Operand context = ContextOperand(1);
  for (int r = tokens; r < rows.count; ++r) {
    float* zeros = rows.residual + r * hidden;
    std::memset(zeros, 0, hidden * sizeof(float));
    kernels_.write_operand(zeros, static_cast<int>(hidden), context, rows.first + r, 0);
  }
  MakeInput(rows, pre() ? &weights_.layers[0].attention_layer_norm : nullptr, pre(), weights_.layers[0].qkv_scale);
}

void Forward::MakeInput(const Rows& rows, const LayerNormWeights* weights, bool keep_residual, float scale) const {
  const Operand operand = InputOperand(rows, scale);
  const bool is_residual = operand.data == rows.residual;
  if (weights == nullptr) {
    for (int r = 0; r < rows.count && !is_residual; ++r) {
      kernels_.write_operand(rows.residual + static_cast<int64_t>(r) * config_.hidden_size, config_.hidden_size, operand, r, 0);
    }
    return;
  }
  LayerNormTask task;
  task.x = rows.residual;
  task.rows = rows.count;
  task.width = config_.hidden_size;
  task.gamma = weights->gamma;
  task.beta = weights->beta;
  task.epsilon = config_.epsilon;
  task.out = keep_residual ? nullptr : rows.residual;
  task.operand = is_residual ? nullptr : &operand;
  task.operand_row = 0;
  if (policy_.operand.tiles) return TilesLayerNorm(task);
  kernels_.layer_norm(task);
}

void Forward::NormalizeAttention(int layer, const Rows& rows) const {
  const PreparedLayer& weights = weights_.layers[layer];
  MakeInput(rows, pre() ? &weights.output_layer_norm : &weights.attention_layer_norm, pre(), weights.intermediate_scale);
}

// The last LayerNorm, the layer's output, and the next layer's input.
void Forward::FinishLayer(int layer, const Rows& rows) const {
  const bool last = layer + 1 == config_.num_layers;
  const float next_scale = last ? 1 : weights_.layers[layer + 1].qkv_scale;
  if (!pre()) MakeInput(rows, &weights_.layers[layer].output_layer_norm, false, next_scale);
  if (last || config_.all_layers) Scatter(layer, rows);
  if (pre() && !last) MakeInput(rows, &weights_.layers[layer + 1].attention_layer_norm, true, next_scale);
}

Status Forward::QueryKeyValue(int layer, const Rows& rows, int first, int columns) const {
  ProductCall call;
  call.in = InputOperand(rows, 1).data;
  call.rows = rows.count;
  call.first_column = first;
  call.columns = columns;
  call.out = base_ + plan_.workspace.qkv + 3 * static_cast<int64_t>(rows.first) * config_.hidden_size * SizeOf(policy_.attention);
  call.scratch = rows.scratch;
  return products_.qkv->Run(weights_.layers[layer].qkv, call);
}

Status Forward::AttentionOutput(int layer, const Rows& rows, int first, int columns) const {
  ProductCall call;
  call.in = base_ + plan_.workspace.context + policy_.operand.Bytes(rows.first, config_.hidden_size);
  call.rows = rows.count;
  call.first_column = first;
  call.columns = columns;
  call.out = rows.residual;
  call.scratch = rows.scratch;
  return products_.attention_output->Run(weights_.layers[layer].attention_output, call);
}

// rows.inner begins with column `chunk`, and has as many columns as a chunk.
Status Forward::Intermediate(int layer, const Rows& rows, int first, int columns, int chunk) const {
  const int width = std::min(plan_.division.inner_chunk, config_.inner_size - chunk);
  ProductCall call;
  call.in = InputOperand(rows, 1).data;
  call.rows = rows.count;
  call.first_column = first;
  call.columns = columns;
  call.out_operand = {policy_.operand, rows.inner, width, weights_.layers[layer].output_scale};
  call.operand_column = chunk;
  call.scratch = rows.scratch;
  return products_.intermediate->Run(weights_.layers[layer].intermediate, call);
}

Status Forward::Output(int layer, const Rows& rows, int first, int columns, int first_inner, int inner) const {
  ProductCall call;
  call.in = rows.inner;
  call.rows = rows.count;
  call.first_column = first;
  call.columns = columns;
  call.out = rows.residual;
  call.first_depth = first_inner;
  call.depth = inner;
  call.scratch = rows.scratch;
  return products_.output->Run(weights_.layers[layer].output, call);
}

Status Forward::Attend(int layer, int64_t worker, int64_t task) const {
  const AttentionItem& item = attention_items_[task / config_.num_heads];
  const int head = static_cast<int>(task % config_.num_heads) * config_.size_per_head;
  const int64_t hidden = config_.hidden_size, first_row = sequence_begin_[item.sequence], element = SizeOf(policy_.attention);
  const char* qkv = base_ + plan_.workspace.qkv + (first_row * 3 * hidden + head) * element;
  AttentionTask attention;
  attention.query = qkv;
  attention.key = qkv + hidden * element;
  attention.value = qkv + 2 * hidden * element;
  attention.row_stride = 3 * hidden;
  attention.context = ContextOperand(weights_.layers[layer].context_scale);
  attention.context_row = first_row;
  attention.context_column = head;
  attention.size_per_head = config_.size_per_head;
  attention.num_keys = sequence_begin_[item.sequence + 1] - sequence_begin_[item.sequence];
  attention.first_query = item.first_query;
  attention.num_queries = std::min(plan_.queries_per_task, attention.num_keys - item.first_query);
  attention.scratch = base_ + plan_.workspace.scratch + worker * plan_.workspace.scratch_stride;
  if (policy_.attention == DataType::kFloat32) {
    kernels_.attention_float(attention);
  } else if (amx_) {
    AmxAttention(attention);
  } else if (config_.size_per_head % 32 == 0 && HasAvx512()) {
    Avx512Bfloat16Attention(attention);
  } else {
    kernels_.attention_bfloat16(attention);
  }
  return Status::Ok();
}

void Forward::Scatter(int layer, const Rows& rows) const {
  const int64_t hidden = config_.hidden_size;
  const int64_t slab = config_.all_layers ? static_cast<int64_t>(layer) * call_.batch * call_.seq_len : 0;
  const int tokens = std::min(call_.num_tokens - rows.first, rows.count);
  for (int r = 0; r < tokens; ++r) {
    const int64_t target = (slab + row_source_[rows.first + r]) * hidden;
    char* out = static_cast<char*>(call_.output) + target * SizeOf(config_.dtype);
    kernels_.from_float(config_.dtype, rows.residual + r * hidden, out, hidden);
  }
}

}  // namespace cpu
}  // namespace tf_fastbert
