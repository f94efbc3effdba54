// RunCudaSpanLogits of cc/span_logits.h by the C ABI of cuda/fastbert_cuda.h.
#include "cc/cuda_status.h"
#include "cc/span_logits.h"
#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {

Status RunCudaSpanLogits(const SpanLogitsCall& call) {
  FastBertSpanLogitsCall span = {};
  span.hidden_states = call.hidden_states;
  span.weights = call.weights;
  span.bias = call.bias;
  span.start_logits = call.start_logits;
  span.end_logits = call.end_logits;
  span.batch = call.batch;
  span.seq_len = call.seq_len;
  span.hidden_size = call.hidden_size;
  span.dtype = ToCuda(call.dtype);
  span.weights_dtype = ToCuda(call.weights_dtype);
  span.padding = call.padding;
  span.sequence_length = call.sequence_length;
  span.mask = call.mask;
  return FromCuda(fastbert_cuda_span_logits(&span, call.stream));
}

}  // namespace tf_fastbert
