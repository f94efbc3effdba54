// The shape function of FastBertEncoder and FastBertQuantizedEncoder.
#ifndef TF_FASTBERT_CC_ENCODER_SHAPE_H_
#define TF_FASTBERT_CC_ENCODER_SHAPE_H_

#include "absl/status/status.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {

// The output is [batch, seq_len, hidden_size], or [num_layers, batch, seq_len, hidden_size] with all_layers. Checks every input,
// as far as shapes are known; a failure names the input.
absl::Status InferEncoderShape(tensorflow::shape_inference::InferenceContext* c);

// The same, and checks amax_list, the last input, and that the kernels' type W fits `quantization` and T.
absl::Status InferQuantizedEncoderShape(tensorflow::shape_inference::InferenceContext* c);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_ENCODER_SHAPE_H_
