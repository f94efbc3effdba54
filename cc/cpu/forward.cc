// The tasks of one call; see forward.h.
#include "cc/cpu/forward.h"

#include <algorithm>
#include <cstring>

#include "cc/cpu/packing.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {

Status FindBlockKernels(const LayerGemms& gemms, int rows, BlockKernels* kernels) {
  const std::pair<const Gemm*, const GemmKernel**> products[] = {{gemms.qkv.get(), &kernels->qkv},
                                                                 {gemms.attention_output.get(), &kernels->attention_output},
                                                                 {gemms.intermediate.get(), &kernels->intermediate},
                                                                 {gemms.output.get(), &kernels->output}};
  for (const auto& product : products) {
    const Status status = product.first->Find(rows, product.second);
    if (!status.ok()) return status;
    kernels->scratch_bytes = std::max(kernels->scratch_bytes, (*product.second)->scratchpad_bytes);
  }
  return Status::Ok();
}

Status MakePlan(const EncoderConfig& config, DataType compute, const LayerGemms& gemms, int batch, int seq_len, int num_tokens,
                bool remove_padding, int num_threads, Plan* plan) {
  plan->workers = std::max(num_threads, 1);
  plan->blocks = DivideRows(remove_padding ? num_tokens : batch * seq_len, plan->workers, compute);
  plan->queries_per_task = QueriesPerTask(batch, num_tokens, config.num_heads, plan->workers);
  Status status = FindBlockKernels(gemms, plan->blocks.block, &plan->block_kernels);
  if (status.ok()) status = FindBlockKernels(gemms, plan->blocks.tail, &plan->tail_kernels);
  if (!status.ok()) return status;
  plan->workspace = LayOutWorkspace(config, compute, plan->blocks, plan->queries_per_task, batch, num_tokens, plan->workers,
                                    std::max(plan->block_kernels.scratch_bytes, plan->tail_kernels.scratch_bytes));
  return Status::Ok();
}

Forward::Forward(const EncoderConfig& config, DataType compute, const CpuPreparedWeights& weights, const Plan& plan,
                 const EncoderCall& call)
    : config_(config),
      compute_(compute),
      weights_(weights),
      plan_(plan),
      call_(call),
      kernels_(BestKernels()),
      base_(static_cast<char*>(call.workspace)),
      sequence_begin_(reinterpret_cast<int32_t*>(base_ + plan.workspace.sequence_begin)),
      row_source_(reinterpret_cast<int32_t*>(base_ + plan.workspace.row_source)),
      attention_items_(reinterpret_cast<AttentionItem*>(base_ + plan.workspace.attention_items)) {}

Status Forward::Run() {
  Status status = IndexTokens(call_, sequence_begin_, row_source_);
  if (!status.ok()) return status;
  const int64_t items = ListAttentionItems(sequence_begin_, call_.batch, plan_.queries_per_task,
                                           reinterpret_cast<int32_t*>(base_ + plan_.workspace.attention_order), attention_items_);
  const int64_t blocks = plan_.blocks.count;
  const int slabs = config_.all_layers ? config_.num_layers : 1;

  status = RunTasks(call_.parallel_for, plan_.workers, blocks + call_.batch, [&](int64_t worker, int64_t task) {
    if (task < blocks) return RunInput(GetBlock(worker, task));
    ZeroPadding(call_, static_cast<int>(task - blocks), slabs, config_.hidden_size * SizeOf(config_.dtype));
    return Status::Ok();
  });
  for (int layer = 0; layer < config_.num_layers && status.ok(); ++layer) {
    status = RunTasks(call_.parallel_for, plan_.workers, items * config_.num_heads,
                      [&](int64_t worker, int64_t task) { return RunAttention(worker, task); });
    if (!status.ok()) break;
    status = RunTasks(call_.parallel_for, plan_.workers, blocks,
                      [&](int64_t worker, int64_t task) { return RunLayer(layer, GetBlock(worker, task)); });
  }
  return status;
}

Forward::Block Forward::GetBlock(int64_t worker, int64_t index) const {
  Block block;
  block.first = plan_.blocks.first(index);
  block.rows = plan_.blocks.size(index);
  block.kernels = block.rows == plan_.blocks.block ? &plan_.block_kernels : &plan_.tail_kernels;
  block.scratch = base_ + plan_.workspace.scratch + worker * plan_.workspace.scratch_stride;
  const int64_t row_elements = static_cast<int64_t>(block.first) * config_.hidden_size;
  block.residual = reinterpret_cast<float*>(base_ + plan_.workspace.residual) + row_elements;
  block.context = base_ + plan_.workspace.context + row_elements * SizeOf(compute_);
  block.qkv = base_ + plan_.workspace.qkv + 3 * row_elements * SizeOf(compute_);
  return block;
}

// Gathers the block's tokens and computes the first layer's query, key and value. Rows beyond the tokens are zeroed, also in
// `context`, where attention writes only tokens.
Status Forward::RunInput(const Block& block) const {
  const int64_t hidden = config_.hidden_size;
  const int tokens = std::min(std::max(call_.num_tokens - block.first, 0), block.rows);
  for (int r = 0; r < tokens; ++r) {
    const int64_t source = row_source_[block.first + r] * hidden;
    kernels_.to_float(config_.dtype, static_cast<const char*>(call_.input) + source * SizeOf(config_.dtype),
                      block.residual + r * hidden, hidden);
  }
  const int64_t rest = (block.rows - tokens) * hidden;
  std::memset(block.residual + tokens * hidden, 0, rest * sizeof(float));
  std::memset(block.context + tokens * hidden * SizeOf(compute_), 0, rest * SizeOf(compute_));

  const void* in = block.residual;
  if (config_.layer_norm == LayerNormPlacement::kPre) {
    in = Normalize(block, weights_.layers[0].attention_layer_norm, true);
  } else if (compute_ != DataType::kFloat32) {
    kernels_.from_float(compute_, block.residual, block.scratch + plan_.workspace.normalized, block.rows * hidden);
    in = block.scratch + plan_.workspace.normalized;
  }
  return Multiply("query, key and value product", *block.kernels->qkv, weights_.layers[0].qkv, in, block.qkv, block);
}

Status Forward::RunAttention(int64_t worker, int64_t task) const {
  const AttentionItem& item = attention_items_[task / config_.num_heads];
  const int64_t head = task % config_.num_heads * config_.size_per_head;
  const int64_t hidden = config_.hidden_size, first_row = sequence_begin_[item.sequence], element = SizeOf(compute_);
  const char* qkv = base_ + plan_.workspace.qkv + (first_row * 3 * hidden + head) * element;
  AttentionTask attention;
  attention.query = qkv;
  attention.key = qkv + hidden * element;
  attention.value = qkv + 2 * hidden * element;
  attention.row_stride = 3 * hidden;
  attention.context = base_ + plan_.workspace.context + (first_row * hidden + head) * element;
  attention.context_stride = hidden;
  attention.size_per_head = config_.size_per_head;
  attention.num_keys = sequence_begin_[item.sequence + 1] - sequence_begin_[item.sequence];
  attention.first_query = item.first_query;
  attention.num_queries = std::min(plan_.queries_per_task, attention.num_keys - item.first_query);
  attention.scratch = reinterpret_cast<float*>(base_ + plan_.workspace.scratch + worker * plan_.workspace.scratch_stride);
  compute_ == DataType::kFloat32 ? kernels_.attention_float(attention) : kernels_.attention_bfloat16(attention);
  return Status::Ok();
}

Status Forward::RunLayer(int layer, const Block& block) const {
  const PreparedLayer& weights = weights_.layers[layer];
  const bool pre = config_.layer_norm == LayerNormPlacement::kPre;
  const bool last = layer + 1 == config_.num_layers;
  Status status = Multiply("attention output product", *block.kernels->attention_output, weights.attention_output, block.context,
                           block.residual, block);
  if (!status.ok()) return status;

  const void* in = Normalize(block, pre ? weights.output_layer_norm : weights.attention_layer_norm, pre);
  char* inner = block.scratch + plan_.workspace.inner;
  status = Multiply("intermediate product", *block.kernels->intermediate, weights.intermediate, in, inner, block);
  if (!status.ok()) return status;
  status = Multiply("output product", *block.kernels->output, weights.output, inner, block.residual, block);
  if (!status.ok()) return status;

  if (!pre) in = Normalize(block, weights.output_layer_norm, false);
  if (last || config_.all_layers) Scatter(layer, block);
  if (last) return Status::Ok();
  if (pre) in = Normalize(block, weights_.layers[layer + 1].attention_layer_norm, true);
  return Multiply("query, key and value product", *block.kernels->qkv, weights_.layers[layer + 1].qkv, in, block.qkv, block);
}

// LayerNorm of the residual, which stays as it is or becomes the result. Returns the result as `compute`.
const void* Forward::Normalize(const Block& block, const LayerNormWeights& weights, bool keep_residual) const {
  char* normalized = block.scratch + plan_.workspace.normalized;
  const bool is_float = compute_ == DataType::kFloat32;
  LayerNormTask task;
  task.x = block.residual;
  task.rows = block.rows;
  task.width = config_.hidden_size;
  task.gamma = weights.gamma;
  task.beta = weights.beta;
  task.epsilon = config_.epsilon;
  task.out = !keep_residual ? block.residual : (is_float ? reinterpret_cast<float*>(normalized) : nullptr);
  task.out_bfloat16 = is_float ? nullptr : reinterpret_cast<uint16_t*>(normalized);
  kernels_.layer_norm(task);
  return is_float ? static_cast<const void*>(task.out) : normalized;
}

Status Forward::Multiply(const char* name, const GemmKernel& kernel, const GemmWeights& weights, const void* in, void* out,
                         const Block& block) const {
  return CatchErrors(name, [&] {
    Gemm::Run(kernel, weights, in, out, block.scratch + plan_.workspace.gemm);
    return Status::Ok();
  });
}

void Forward::Scatter(int layer, const Block& block) const {
  const int64_t hidden = config_.hidden_size;
  const int64_t slab = config_.all_layers ? static_cast<int64_t>(layer) * call_.batch * call_.seq_len : 0;
  const int tokens = std::min(call_.num_tokens - block.first, block.rows);
  for (int r = 0; r < tokens; ++r) {
    const int64_t target = (slab + row_source_[block.first + r]) * hidden;
    char* out = static_cast<char*>(call_.output) + target * SizeOf(config_.dtype);
    kernels_.from_float(config_.dtype, block.residual + r * hidden, out, hidden);
  }
}

}  // namespace cpu
}  // namespace tf_fastbert
