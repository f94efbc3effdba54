// One pass through the encoder: the tasks of one call, and the layer loop.
//
// The steps of a layer, from the query, key and value product's output on:
//
//   attention -> attention output product + residual -> LayerNorm -> intermediate product + activation -> output product +
//   residual -> LayerNorm -> the next layer's query, key and value product
//
// Attention runs over (sequence, queries, head). The rest runs, with many rows, over blocks of packed rows, each of which goes
// through all these steps in one task, while it is in cache; with few rows every step is a phase whose columns (or rows, of
// LayerNorm) the threads share. See Division in plan.h.
//
// The residual stream and LayerNorm are float32 in every precision; products take policy.operand and accumulate in float32 or
// int32.
#ifndef TF_FASTBERT_CC_CPU_FORWARD_H_
#define TF_FASTBERT_CC_CPU_FORWARD_H_

#include "cc/cpu/kernels.h"
#include "cc/cpu/plan.h"
#include "cc/cpu/policy.h"
#include "cc/cpu/weights.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// Everything that a call's sizes decide.
struct Plan {
  Division division;
  int queries_per_task;
  int workers;
  int phases;
  Workspace workspace;
};

// Prepares the products for the plan's blocks of rows.
Status MakePlan(const EncoderConfig& config, const Policy& policy, const LayerProducts& products, int batch, int seq_len,
                int num_tokens, bool remove_padding, int num_threads, Plan* plan);

class Forward {
 public:
  // All of them must outlive the object.
  Forward(const EncoderConfig& config, const Policy& policy, const LayerProducts& products, const CpuPreparedWeights& weights,
          const Plan& plan, const EncoderCall& call);

  Status Run();

 private:
  // Some rows as a task sees them, and its scratch.
  struct Rows {
    int first;
    int count;
    float* residual;
    char* normalized;
    char* inner;
    char* scratch;
  };

  int64_t CountTasks(int phase) const;
  Status RunPhase(int64_t worker, int phase, int64_t task) const;
  Status RunStep(int layer, int step, int64_t worker, int64_t task) const;
  Status RunChain(int layer, const Rows& rows) const;

  Rows GetRows(int64_t worker, int first, int count) const;
  Rows GetBlock(int64_t worker, int64_t index) const;
  void Gather(const Rows& rows) const;
  Status Attend(int layer, int64_t worker, int64_t task) const;
  void NormalizeAttention(int layer, const Rows& rows) const;
  void FinishLayer(int layer, const Rows& rows) const;
  void Scatter(int layer, const Rows& rows) const;

  // Columns [first, first + columns) of a product of the layer.
  Status QueryKeyValue(int layer, const Rows& rows, int first, int columns) const;
  Status AttentionOutput(int layer, const Rows& rows, int first, int columns) const;
  Status Intermediate(int layer, const Rows& rows, int first, int columns, int chunk) const;
  Status Output(int layer, const Rows& rows, int first, int columns, int first_inner, int inner) const;

  // The residual, through LayerNorm if `weights` are given, as input of the product that follows. The residual becomes the
  // LayerNorm's result unless it is kept.
  void MakeInput(const Rows& rows, const LayerNormWeights* weights, bool keep_residual, float scale) const;
  // What MakeInput writes to; the residual itself where that has the right type.
  Operand InputOperand(const Rows& rows, float scale) const;
  Operand ContextOperand(float scale) const;
  // A row of what the first product gives, from query (0), key (1) or value (2) of a head on; the next row is qkv_stride() further.
  char* Qkv(int64_t row, int part, int head) const;
  int64_t qkv_stride() const { return policy_.operand.tiles ? config_.size_per_head : 3 * config_.hidden_size; }

  bool pre() const { return config_.layer_norm == LayerNormPlacement::kPre; }

  const EncoderConfig& config_;
  const Policy& policy_;
  const LayerProducts& products_;
  const CpuPreparedWeights& weights_;
  const Plan& plan_;
  const EncoderCall& call_;
  const Kernels& kernels_;
  const bool amx_;
  char* const base_;  // the workspace
  int32_t* const sequence_begin_;
  int32_t* const row_source_;
  AttentionItem* const attention_items_;
  int64_t attention_tasks_ = 0;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_FORWARD_H_
