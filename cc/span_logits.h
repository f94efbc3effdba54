// The interface of the head of a question-answering BERT, as cc/embedding.h is the embedding layer's.
#ifndef TF_FASTBERT_CC_SPAN_LOGITS_H_
#define TF_FASTBERT_CC_SPAN_LOGITS_H_

#include <cstddef>
#include <cstdint>

#include "cc/encoder.h"

namespace tf_fastbert {

// start_logits[b, s] = hidden_states[b, s] . weights[0] + bias[0], end_logits with weights[1] and bias[1], summed up in float32;
// `padding` where (b, s) is padding, whose hidden states are not read. H = hidden_size.
struct SpanLogitsCall {
  const void* hidden_states = nullptr;  // [batch, seq_len, H], of `dtype`
  const void* weights = nullptr;        // [2, H], of `weights_dtype`, as bias
  const void* bias = nullptr;           // [2]
  float* start_logits = nullptr;        // [batch, seq_len]
  float* end_logits = nullptr;          // [batch, seq_len]
  int batch = 0;
  int seq_len = 0;
  int hidden_size = 0;
  DataType dtype = DataType::kFloat32;
  DataType weights_dtype = DataType::kFloat32;
  float padding = 0;

  // In host memory, as in EncoderCall.
  const int32_t* sequence_length = nullptr;  // [batch]
  const int32_t* mask = nullptr;             // [batch, seq_len], or null

  void* stream = nullptr;                     // cudaStream_t; unused on the CPU
  void* workspace = nullptr;                  // CPU only: CpuSpanLogitsWorkspaceBytes, 256-byte aligned
  const ParallelFor* parallel_for = nullptr;  // CPU only
  int num_threads = 1;                        // CPU only
};

size_t CpuSpanLogitsWorkspaceBytes(int hidden_size, int num_threads);
Status RunCpuSpanLogits(const SpanLogitsCall& call);
// Queued on the stream. Only in libraries built with CUDA.
Status RunCudaSpanLogits(const SpanLogitsCall& call);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_SPAN_LOGITS_H_
