// Multi-head attention over packed sequences of different lengths.
#ifndef TF_FASTBERT_CUDA_ATTENTION_H_
#define TF_FASTBERT_CUDA_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/dimensions.h"
#include "cuda/sequence_layout.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kMaxHeadSize = 128;
constexpr float kLog2E = 1.4426950408889634f;  // of e; the softmax's exponentials are in base 2

struct AttentionArgs {
  const void* qkv;             // [num_tokens, 3 * num_heads * head_size]: all heads' Q, then K, then V
  void* context;               // [num_tokens, num_heads * head_size]; 8-bit if `quantize`
  const AttentionTile* tiles;  // [num_tiles]
  int num_tiles;
  int num_heads;
  int num_tokens;
  int max_length;  // no sequence is longer
  int head_size;   // a multiple of 8, at most kMaxHeadSize
  float scale;    // of the scores: 1 / sqrt(the model's head size)
  // Not for float32: the context is stored times context_scale in 8 bits.
  enum { kNotQuantized, kInt8, kE4M3 } quantize = kNotQuantized;
  float context_scale = 1.0f;
  int* next_item = nullptr;  // two counters, for attention_stream.cuh alone
};

// Of a pass whose context is not quantized; the layout's tiles must be filled when it is launched.
AttentionArgs MakeAttentionArgs(const Dimensions& dimensions, const SequenceLayout& layout, const void* qkv, void* context);

// Which kernel a model's attention takes on a device.
struct AttentionPlan {
  int tile_size = 0;      // queries that one block works on
  int wgmma_blocks = 0;   // attention_wgmma.cuh with at most so many blocks; 0: attention_mma.cuh
  bool streams = false;   // for many tokens attention_stream.cuh takes the place of it, as attention_split.cuh does for few
  int num_processors = 0;
  bool tf32 = false;   // attention_tf32.cu, else attention_fp32.cu
};

// For the current device, of num_processors multiprocessors. To be asked once for an encoder: it also prepares the kernels.
AttentionPlan PlanAttention(int dtype, int precision, int head_size, int compute_capability, int num_processors);

// Queries of an entry of `tiles` for attention_stream.cuh, a multiple of 64.
constexpr int kStreamQueries = 192;

// Queries of an entry of `tiles` in a pass over so many tokens.
int AttentionTileSize(const AttentionPlan& plan, int64_t num_tokens);

// context = softmax(scale * Q K^T) V for each sequence and head, on the device that `plan` was made for. Layers are launched in order.
Status LaunchAttention(const AttentionPlan& plan, const AttentionArgs& args, int dtype, int layer, cudaStream_t stream);

// One function a compiled head size (head_size is at most it), each in a file of its own so that they compile side by side.
void LaunchAttentionMma32(const AttentionArgs& args, int dtype, cudaStream_t stream);
void LaunchAttentionMma64(const AttentionArgs& args, int dtype, cudaStream_t stream);
void LaunchAttentionMma96(const AttentionArgs& args, int dtype, cudaStream_t stream);
void LaunchAttentionMma128(const AttentionArgs& args, int dtype, cudaStream_t stream);
void LaunchAttentionFp32(const AttentionArgs& args, cudaStream_t stream);
void LaunchAttentionTf32(const AttentionArgs& args, cudaStream_t stream);

// Likewise. Prepare: how many blocks the current device runs at once, or 0 where it cannot; Launch starts at most `blocks`.
int PrepareAttentionWgmma32(int dtype);
int PrepareAttentionWgmma64(int dtype);
void LaunchAttentionWgmma32(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream);
void LaunchAttentionWgmma64(const AttentionArgs& args, int dtype, int blocks, cudaStream_t stream);
void LaunchAttentionSplit32(const AttentionArgs& args, int dtype, cudaStream_t stream);
void LaunchAttentionSplit64(const AttentionArgs& args, int dtype, cudaStream_t stream);

// Likewise, for heads of 64. Layers take turns with args.next_item's two counters, the first being zero for layer 0.
bool PrepareAttentionStream(int dtype);
Status LaunchAttentionStream(const AttentionArgs& args, int dtype, int num_processors, int layer, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_H_
