// What one forward pass consists of: for the files of class Encoder alone.
#ifndef TF_FASTBERT_CUDA_ENCODER_PASS_H_
#define TF_FASTBERT_CUDA_ENCODER_PASS_H_

#include <cstdint>

#include "cuda/encoder.h"
#include "cuda/quantized_gemm.h"

namespace tf_fastbert {
namespace cuda {

// Up to this many rows the host would need longer to queue a pass's launches than the GPU to run them: they go as a CUDA graph.
constexpr int64_t kMaxGraphRows = 4096;

// A graph's sizes are fixed, so token counts are rounded up; the rows in between are computed for nothing (3 % on average at 1,024).
inline int64_t BucketOfTokens(int64_t num_tokens) {
  if (num_tokens > kMaxGraphRows) return num_tokens;
  const int64_t step = num_tokens <= 1024 ? 64 : 128;
  return (num_tokens + step - 1) / step * step;
}

// All inside the caller's workspace, at the same offsets for all token counts of a bucket, since graphs hold their addresses.
// Rows: num_tokens, or batch * seq_len when padding is not removed.
struct Encoder::Buffers {
  int32_t* padded_row;
  int32_t* token;
  AttentionTile* tiles;
  int* next_item;    // attention's two counters
  void* x;           // [rows, padded_hidden]: the residual stream
  void* normalized;  // [rows, padded_hidden], pre-LN only: input of the sublayer
  void* projection;  // [rows, padded_hidden]: output of the sublayer's last product
  void* qkv;         // [rows, 3 * heads]
  void* context;     // [rows, heads]
  void* inner;       // [rows, padded_inner], in the place of qkv and context, which are not needed any more
  void* gemm;        // cuBLASLt's scratch memory

  // Quantized passes only, 8-bit:
  void* x8;        // [rows, hidden]: input of the sublayer; with HasInt8Stream the residual stream too, in place of x
  void* context8;  // [rows, hidden]
};

// The 8-bit inputs of the products: b.x8, b.context8, and b.inner in 8 bits.
struct Encoder::QuantizedInputs {
  QuantizedInput input[kNumGemmSites];
};

// One forward pass.
struct Encoder::Pass {
  const Weights& weights;
  const FastBertCall& call;
  const Buffers& buffers;
  const SequenceLayout& layout;
  const GemmRows& gemm_rows;
  int64_t rows;
  const void* input;  // [rows, padded_hidden]
  cudaStream_t stream;
  StepTimer* timer;                  // null: nobody asked
  const QuantizedInputs* quantized;  // null: not a quantized pass
  bool fused;

  void Begin(FastBertStepKind step, int layer) const {
    if (timer != nullptr) timer->Begin(step, layer);
  }

  bool same_rows(const Dimensions& d) const { return layout.dense && d.hidden == d.padded_hidden; }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ENCODER_PASS_H_
