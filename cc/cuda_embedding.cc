// RunCudaEmbedding of cc/embedding.h by the C ABI of cuda/fastbert_cuda.h.
#include "cc/cuda_status.h"
#include "cc/embedding.h"
#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {

Status RunCudaEmbedding(const EmbeddingCall& call) {
  FastBertEmbeddingCall embed = {};
  embed.input_ids = call.input_ids;
  embed.token_type_ids = call.token_type_ids;
  embed.word_embeddings = call.word_embeddings;
  embed.position_embeddings = call.position_embeddings;
  embed.token_type_embeddings = call.token_type_embeddings;
  embed.gamma = call.gamma;
  embed.beta = call.beta;
  embed.output = call.output;
  embed.batch = call.batch;
  embed.seq_len = call.seq_len;
  embed.hidden_size = call.hidden_size;
  embed.vocab_size = call.vocab_size;
  embed.num_token_types = call.num_token_types;
  embed.epsilon = call.epsilon;
  embed.dtype = ToCuda(call.dtype);
  embed.sequence_length = call.sequence_length;
  embed.mask = call.mask;
  return FromCuda(fastbert_cuda_embed(&embed, call.stream));
}

}  // namespace tf_fastbert
