// The interface of the head of a question-answering BERT, as cc/embedding.h is the embedding layer's.
#ifndef TF_FASTBERT_CC_SPAN_LOGITS_H_
#define TF_FASTBERT_CC_SPAN_LOGITS_H_

#include <cstddef>
#include <cstdint>

#include "cc/layer_call.h"

namespace tf_fastbert {

// start_logits[b, s] = hidden_states[b, s] . weights[0] + bias[0], end_logits with weights[1] and bias[1], summed up in float32;
// `padding` where (b, s) is padding, whose hidden states are not read. H = hidden_size.
struct SpanLogitsCall : LayerCall {
  const void* hidden_states = nullptr;  // [batch, seq_len, H], of `dtype`
  const void* weights = nullptr;        // [2, H], of `weights_dtype`, as bias
  const void* bias = nullptr;           // [2]
  float* start_logits = nullptr;        // [batch, seq_len]
  float* end_logits = nullptr;          // [batch, seq_len]
  DataType weights_dtype = DataType::kFloat32;
  float padding = 0;
};

size_t CpuSpanLogitsWorkspaceBytes(int hidden_size, int num_threads);
Status RunCpuSpanLogits(const SpanLogitsCall& call);
// Queued on the stream. Only in libraries built with CUDA.
Status RunCudaSpanLogits(const SpanLogitsCall& call);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_SPAN_LOGITS_H_
