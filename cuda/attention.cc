#include "cuda/attention.h"

#include <cmath>

namespace tf_fastbert {
namespace cuda {

AttentionArgs MakeAttentionArgs(const Dimensions& d, const SequenceLayout& layout, const void* qkv, void* context) {
  AttentionArgs args;
  args.qkv = qkv;
  args.context = context;
  args.tiles = layout.tiles;
  args.num_tiles = layout.tile_slots;
  args.num_heads = d.num_heads;
  args.head_size = d.padded_head;
  args.scale = 1.0f / std::sqrt(static_cast<float>(d.head));
  return args;
}

AttentionPlan PlanAttention(int dtype, int precision, int head_size, int compute_capability) {
  AttentionPlan plan;
  if (dtype == FASTBERT_FLOAT32) {
    plan.tf32 = precision == FASTBERT_PRECISION_TF32 && compute_capability >= 80;
    plan.tile_size = head_size > 64 && !plan.tf32 ? 32 : 64;  // must agree with the kernels' kQueries
    return plan;
  }
  plan.tile_size = 64;
  if (head_size <= 32) {
    plan.wgmma_blocks = PrepareAttentionWgmma32(dtype);
  } else if (head_size <= 64) {
    plan.wgmma_blocks = PrepareAttentionWgmma64(dtype);
  }
  return plan;
}

Status LaunchAttention(const AttentionPlan& plan, const AttentionArgs& args, int dtype, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT32) {
    plan.tf32 ? LaunchAttentionTf32(args, stream) : LaunchAttentionFp32(args, stream);
  } else if (args.head_size <= 32) {
    plan.wgmma_blocks > 0 ? LaunchAttentionWgmma32(args, dtype, plan.wgmma_blocks, stream)
                          : LaunchAttentionMma32(args, dtype, stream);
  } else if (args.head_size <= 64) {
    plan.wgmma_blocks > 0 ? LaunchAttentionWgmma64(args, dtype, plan.wgmma_blocks, stream)
                          : LaunchAttentionMma64(args, dtype, stream);
  } else if (args.head_size <= 96) {
    LaunchAttentionMma96(args, dtype, stream);
  } else {
    LaunchAttentionMma128(args, dtype, stream);
  }
  return LaunchStatus("attention kernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
