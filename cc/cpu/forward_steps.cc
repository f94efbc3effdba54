// The steps of a layer over some rows or columns: what the tasks of forward.cc consist of; see forward.h.
#include <algorithm>
#include <cstring>

#include "cc/cpu/bfloat16_attention.h"
#include "cc/cpu/forward.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/tiles_layer_norm.h"

namespace tf_fastbert {
namespace cpu {

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

// With tiles each head's rows lie side by side, since attention reads one head after the other: rows of all heads would be pages
// apart.
char* Forward::Qkv(int64_t row, int part, int head) const {
  const int64_t rows = plan_.division.blocks.rows, size = config_.size_per_head, group = part * config_.num_heads + head;
  const int64_t at = policy_.operand.tiles ? (group * rows + row) * size : row * qkv_stride() + group * size;
  return base_ + plan_.workspace.qkv + at * SizeOf(policy_.attention);
}

Status Forward::QueryKeyValue(int layer, const Rows& rows, int first, int columns) const {
  ProductCall call;
  call.in = InputOperand(rows, 1).data;
  call.rows = rows.count;
  call.first_column = first;
  call.columns = columns;
  call.out = Qkv(rows.first, 0, 0);
  if (policy_.operand.tiles) {
    call.out_group = config_.size_per_head;
    call.out_group_stride = static_cast<int64_t>(plan_.division.blocks.rows) * config_.size_per_head;
  }
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
  const int head = static_cast<int>(task % config_.num_heads), first_row = sequence_begin_[item.sequence];
  AttentionTask attention;
  attention.query = Qkv(first_row, 0, head);
  attention.key = Qkv(first_row, 1, head);
  attention.value = Qkv(first_row, 2, head);
  attention.row_stride = qkv_stride();
  attention.context = ContextOperand(weights_.layers[layer].context_scale);
  attention.context_row = first_row;
  attention.context_column = head * config_.size_per_head;
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
