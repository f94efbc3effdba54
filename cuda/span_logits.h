// The head of a question-answering BERT.
#ifndef TF_FASTBERT_CUDA_SPAN_LOGITS_H_
#define TF_FASTBERT_CUDA_SPAN_LOGITS_H_

#include <cuda_runtime_api.h>

#include "cuda/fastbert_cuda.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// See FastBertSpanLogitsCall.
Status SpanLogits(const FastBertSpanLogitsCall& call, cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_SPAN_LOGITS_H_
