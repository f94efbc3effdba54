// One pass through the encoder: the tasks of one call, and the layer loop.
//
// Two kinds of tasks, so two barriers per layer. Attention runs over (sequence, queries, head). Everything else runs over blocks
// of packed rows, and a block goes through its whole chain in one task, while it is in cache:
//
//   context -> attention output product + residual -> LayerNorm -> intermediate product + activation -> output product + residual
//           -> LayerNorm -> the next layer's query, key and value product
//
// The residual stream and LayerNorm are float32 in every precision; products take `compute` and accumulate in float32.
#ifndef TF_FASTBERT_CC_CPU_FORWARD_H_
#define TF_FASTBERT_CC_CPU_FORWARD_H_

#include "cc/cpu/kernels.h"
#include "cc/cpu/plan.h"
#include "cc/cpu/weights.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// A layer's products, compiled for a block of rows.
struct BlockKernels {
  const GemmKernel* qkv = nullptr;
  const GemmKernel* attention_output = nullptr;
  const GemmKernel* intermediate = nullptr;
  const GemmKernel* output = nullptr;
  size_t scratch_bytes = 0;  // enough for each
};

Status FindBlockKernels(const LayerGemms& gemms, int rows, BlockKernels* kernels);

// Everything that a call's sizes decide.
struct Plan {
  RowBlocks blocks;
  int queries_per_task;
  int workers;
  BlockKernels block_kernels, tail_kernels;
  Workspace workspace;
};

Status MakePlan(const EncoderConfig& config, DataType compute, const LayerGemms& gemms, int batch, int seq_len, int num_tokens,
                bool remove_padding, int num_threads, Plan* plan);

class Forward {
 public:
  // All of them must outlive the object.
  Forward(const EncoderConfig& config, DataType compute, const CpuPreparedWeights& weights, const Plan& plan,
          const EncoderCall& call);

  Status Run();

 private:
  // A row block as a task sees it.
  struct Block {
    int first;
    int rows;
    const BlockKernels* kernels;
    char* scratch;
    float* residual;
    char* context;
    char* qkv;
  };

  Block GetBlock(int64_t worker, int64_t index) const;
  Status RunInput(const Block& block) const;
  Status RunAttention(int64_t worker, int64_t task) const;
  Status RunLayer(int layer, const Block& block) const;

  const void* Normalize(const Block& block, const LayerNormWeights& weights, bool keep_residual) const;
  Status Multiply(const char* name, const GemmKernel& kernel, const GemmWeights& weights, const void* in, void* out,
                  const Block& block) const;
  void Scatter(int layer, const Block& block) const;

  const EncoderConfig& config_;
  const DataType compute_;
  const CpuPreparedWeights& weights_;
  const Plan& plan_;
  const EncoderCall& call_;
  const Kernels& kernels_;
  char* const base_;  // the workspace
  int32_t* const sequence_begin_;
  int32_t* const row_source_;
  AttentionItem* const attention_items_;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_FORWARD_H_
