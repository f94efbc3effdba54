#include "cuda/attention.h"

#include <cmath>

namespace tf_fastbert {
namespace cuda {
namespace {

// Measured on an H100 with BERT-base: below, attention_wgmma.cuh is as fast or faster.
constexpr int64_t kMinStreamTokens = 6000;

// Fewer items than this leave attention_split.cuh's second warpgroup little to do; more than two blocks do not fit a multiprocessor at
// once.
constexpr int kMinSplitItems = 48, kMaxSplitItemsOfProcessor = 2;

bool Splits(const AttentionPlan& plan, const AttentionArgs& args) {
  const int items = args.num_tiles * args.num_heads;
  return plan.wgmma_blocks > 0 && items >= kMinSplitItems && items <= kMaxSplitItemsOfProcessor * plan.num_processors &&
         args.max_length > 64;
}

bool Streams(const AttentionPlan& plan, int64_t num_tokens) { return plan.streams && num_tokens >= kMinStreamTokens; }

}  // namespace

AttentionArgs MakeAttentionArgs(const Dimensions& d, const SequenceLayout& layout, const void* qkv, void* context) {
  AttentionArgs args;
  args.qkv = qkv;
  args.context = context;
  args.tiles = layout.tiles;
  args.num_tiles = layout.tile_slots;
  args.num_tokens = layout.num_tokens;
  args.max_length = layout.seq_len;
  args.next_item = layout.next_item;
  args.num_heads = d.num_heads;
  args.head_size = d.padded_head;
  args.scale = 1.0f / std::sqrt(static_cast<float>(d.head));
  return args;
}

AttentionPlan PlanAttention(int dtype, int precision, int head_size, int compute_capability, int num_processors) {
  AttentionPlan plan;
  plan.num_processors = num_processors;
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
  plan.streams = plan.wgmma_blocks > 0 && head_size == 64 && PrepareAttentionStream(dtype);
  return plan;
}

int AttentionTileSize(const AttentionPlan& plan, int64_t num_tokens) {
  return Streams(plan, num_tokens) ? kStreamQueries : plan.tile_size;
}

Status LaunchAttention(const AttentionPlan& plan, const AttentionArgs& args, int dtype, int layer, cudaStream_t stream) {
  if (dtype == FASTBERT_FLOAT32) {
    plan.tf32 ? LaunchAttentionTf32(args, stream) : LaunchAttentionFp32(args, stream);
  } else if (Streams(plan, args.num_tokens)) {
    FASTBERT_RETURN_IF_ERROR(LaunchAttentionStream(args, dtype, plan.num_processors, layer, stream));
  } else if (Splits(plan, args)) {
    args.head_size <= 32 ? LaunchAttentionSplit32(args, dtype, stream) : LaunchAttentionSplit64(args, dtype, stream);
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
