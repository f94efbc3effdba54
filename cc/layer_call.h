// What the calls of the layers around the encoder have in common; no TensorFlow header here.
#ifndef TF_FASTBERT_CC_LAYER_CALL_H_
#define TF_FASTBERT_CC_LAYER_CALL_H_

#include <cstdint>

#include "cc/encoder.h"

namespace tf_fastbert {

struct LayerCall {
  int batch = 0;
  int seq_len = 0;
  int hidden_size = 0;
  DataType dtype = DataType::kFloat32;

  // In host memory, as in EncoderCall; both null: there is no padding.
  const int32_t* sequence_length = nullptr;  // [batch]
  const int32_t* mask = nullptr;             // [batch, seq_len]

  void* stream = nullptr;                     // cudaStream_t; unused on the CPU
  void* workspace = nullptr;                  // CPU only: as many bytes as the layer says, 256-byte aligned
  const ParallelFor* parallel_for = nullptr;  // CPU only
  int num_threads = 1;                        // CPU only
};

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_LAYER_CALL_H_
