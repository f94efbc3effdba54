// The embedding layer's interface, as cc/encoder.h is the encoder's: both backends implement it, the OpKernel calls it, and there
// is no TensorFlow header here.
#ifndef TF_FASTBERT_CC_EMBEDDING_H_
#define TF_FASTBERT_CC_EMBEDDING_H_

#include <cstddef>
#include <cstdint>

#include "cc/layer_call.h"

namespace tf_fastbert {

// output[b, s] = LayerNorm(word[input_ids[b, s]] + token_type[token_type_ids[b, s]] + position[s]) * gamma + beta, computed in
// float32; zero where (b, s) is padding, whose ids are not read. Tables, gamma, beta and output are of `dtype`; H = hidden_size.
//
// A token type outside of its table counts as a row of zeros, which Google's graph makes of it (a one-hot row without a one). So
// does an input id outside of its table on a GPU, as with tf.gather there; on a CPU it is an error, also as with tf.gather.
struct EmbeddingCall : LayerCall {
  const int32_t* input_ids = nullptr;           // in host memory, [batch, seq_len]
  const int32_t* token_type_ids = nullptr;      // in host memory, [batch, seq_len]
  const void* word_embeddings = nullptr;        // [vocab_size, H]
  const void* position_embeddings = nullptr;    // [num_positions, H], num_positions >= seq_len
  const void* token_type_embeddings = nullptr;  // [num_token_types, H]
  const void* gamma = nullptr;                  // [H]
  const void* beta = nullptr;                   // [H]
  void* output = nullptr;                       // [batch, seq_len, H]
  int vocab_size = 0;
  int num_token_types = 0;
  float epsilon = 1e-12f;
};

size_t CpuEmbeddingWorkspaceBytes(int hidden_size, int num_threads);
Status RunCpuEmbedding(const EmbeddingCall& call);
// Queued on the stream. Only in libraries built with CUDA.
Status RunCudaEmbedding(const EmbeddingCall& call);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_EMBEDDING_H_
