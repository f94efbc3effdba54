// C ABI of the CUDA encoder: everything a program needs to run BERT's encoder on a GPU without TensorFlow.
//
//   fastbert_cuda_create -> fastbert_cuda_pack_weights (once per set of weights) -> fastbert_cuda_forward (any number of times)
//
// Every function returns FASTBERT_OK or an error code; fastbert_cuda_last_error() then describes it (thread-local). No function
// but fastbert_cuda_tune and fastbert_cuda_profile blocks on the device, and forward allocates nothing. An encoder and packed weights may be used by many
// threads and streams at once, each call with a workspace of its own.
#ifndef TF_FASTBERT_CUDA_FASTBERT_CUDA_H_
#define TF_FASTBERT_CUDA_FASTBERT_CUDA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FASTBERT_API __attribute__((visibility("default")))

typedef enum {
  FASTBERT_OK = 0,
  FASTBERT_INVALID_ARGUMENT,
  FASTBERT_UNIMPLEMENTED,
  FASTBERT_OUT_OF_MEMORY,
  FASTBERT_INTERNAL
} FastBertStatus;
typedef enum { FASTBERT_FLOAT32 = 0, FASTBERT_FLOAT16, FASTBERT_BFLOAT16 } FastBertDataType;
typedef enum { FASTBERT_GELU_TANH = 0, FASTBERT_GELU_ERF, FASTBERT_RELU } FastBertActivation;
typedef enum { FASTBERT_POST_LAYER_NORM = 0, FASTBERT_PRE_LAYER_NORM } FastBertLayerNorm;
typedef enum { FASTBERT_PRECISION_DEFAULT = 0, FASTBERT_PRECISION_TF32 } FastBertPrecision;
// How the matrix products are computed where it pays: see fastbert_cuda_runs_quantized.
typedef enum {
  FASTBERT_NO_QUANTIZATION = 0,
  FASTBERT_INT8_MODE_1,  // int8 kernels, a range for each output channel; residual stream of the dtype
  FASTBERT_INT8_MODE_2,  // int8 kernels, a range a tensor; products' results and the residual stream between layers in int8
  FASTBERT_FP8           // kernels of the dtype, rounded to E4M3 when they are packed; residual stream of the dtype
} FastBertQuantization;

typedef enum {
  FASTBERT_KERNELS_FASTEST = 0,
  FASTBERT_KERNELS_LAYERS,
  FASTBERT_KERNELS_FUSED
} FastBertKernels;

typedef struct {
  int32_t num_layers;
  int32_t num_heads;
  int32_t size_per_head;  // even, <= 128
  int32_t inner_size;
  float epsilon;
  int32_t activation;  // FastBertActivation
  int32_t layer_norm;  // FastBertLayerNorm
  int32_t dtype;       // FastBertDataType
  int32_t precision;   // FastBertPrecision
  int32_t all_layers;  // 0: output [B, S, H]; 1: [L, B, S, H]
  int32_t quantization;        // FastBertQuantization
  int32_t min_quantized_rows;  // 0: quantized products from as many rows on as they are faster; n: from n rows on
} FastBertConfig;

// Device pointers, Google's shapes, row-major, of the config's dtype; with int8 modes the six kernels are int8. H = num_heads * size_per_head, I = inner_size.
typedef struct {
  const void* query_kernel;  // [H, H], input dimension first
  const void* query_bias;    // [H]
  const void* key_kernel;
  const void* key_bias;
  const void* value_kernel;
  const void* value_bias;
  const void* attention_output_kernel;     // [H, H]
  const void* attention_output_bias;       // [H]
  const void* attention_layer_norm_gamma;  // [H]
  const void* attention_layer_norm_beta;   // [H]
  const void* intermediate_kernel;         // [H, I]
  const void* intermediate_bias;           // [I]
  const void* output_kernel;               // [I, H]
  const void* output_bias;                 // [H]
  const void* output_layer_norm_gamma;     // [H]
  const void* output_layer_norm_beta;      // [H]
} FastBertLayerWeights;

// Ranges of one layer's quantizers, in HOST memory: the largest absolute value that is represented, positive and finite. A value x
// becomes clamp(round(x * 127 / range), -127, 127), or E4M3 of x * 448 / range. The same fields, in the same order, as LayerRanges
// in cc/encoder.h, where they are explained. Not used here: query_sum to value_sum (these products' results stay in the dtype),
// query to softmax_output (attention is computed in the dtype), intermediate_sum (not rounded before the activation), next_input (attention_input of the next layer is used); more
// precision than a mode asks for at no cost.
typedef struct {
  float attention_input, query_sum, key_sum, value_sum, query, key, value, softmax_input, softmax_output, context,
      attention_output_sum, intermediate_input, intermediate_sum, output_input, output_sum, next_input;
  const float* query_kernel;  // [H], one for each output channel; with FP8 the largest of them counts
  const float* key_kernel;
  const float* value_kernel;
  const float* attention_output_kernel;
  const float* intermediate_kernel;  // [I]
  const float* output_kernel;        // [H]
} FastBertLayerRanges;

typedef struct {
  const void* input;  // device, [B, S, H]
  void* output;       // device, [B, S, H] or [L, B, S, H]; rows of padding are set to zero
  int32_t batch;
  int32_t seq_len;
  const int32_t* sequence_length;  // HOST, [B]: number of valid tokens of each sequence, 0 to S; null = all S
  const int32_t* mask;             // HOST, [B, S], nonzero = valid, or null: the valid tokens are the first sequence_length[b]
  int32_t remove_padding;          // 0: matrix products run over all B * S rows
} FastBertCall;

// Steps of a pass, for fastbert_cuda_profile. The four products are QKV, ATTENTION_OUTPUT, INTERMEDIATE (with its activation) and
// OUTPUT; LAYER_NORM also adds bias and residual, and the last one puts the padding back.
typedef enum {
  FASTBERT_STEP_NOTHING = 0,  // two events with nothing in between: what measuring adds to each step
  FASTBERT_STEP_LAYOUT,       // where each sequence's tokens are
  FASTBERT_STEP_PACK,         // rows without padding
  FASTBERT_STEP_QKV,
  FASTBERT_STEP_ATTENTION,
  FASTBERT_STEP_ATTENTION_OUTPUT,
  FASTBERT_STEP_LAYER_NORM,
  FASTBERT_STEP_INTERMEDIATE,
  FASTBERT_STEP_OUTPUT
} FastBertStepKind;

typedef struct {
  int32_t kind;   // FastBertStepKind
  int32_t layer;  // -1: outside of the layers
  float milliseconds;
} FastBertStep;

typedef struct FastBertCudaEncoder FastBertCudaEncoder;
typedef struct FastBertCudaWeights FastBertCudaWeights;

// For the current CUDA device. Loads cuBLASLt (CUDA 12 or 13) on first use.
FASTBERT_API FastBertStatus fastbert_cuda_create(const FastBertConfig* config, FastBertCudaEncoder** encoder);
FASTBERT_API void fastbert_cuda_destroy(FastBertCudaEncoder* encoder);

// Packs num_layers weights into `buffer` (device, fastbert_cuda_packed_bytes, 256-byte aligned) on `stream` (a cudaStream_t).
// What need not be packed is used where it is: `layers`' device memory must stay unchanged as long as the result is used.
FASTBERT_API size_t fastbert_cuda_packed_bytes(const FastBertCudaEncoder* encoder);
FASTBERT_API FastBertStatus fastbert_cuda_pack_weights(const FastBertCudaEncoder* encoder, const FastBertLayerWeights* layers,
                                                       void* buffer, void* stream, FastBertCudaWeights** weights);
// The same for an encoder with quantization. `ranges`: num_layers of them, read before this returns.
FASTBERT_API FastBertStatus fastbert_cuda_pack_quantized_weights(const FastBertCudaEncoder* encoder,
                                                                 const FastBertLayerWeights* layers,
                                                                 const FastBertLayerRanges* ranges, void* buffer, void* stream,
                                                                 FastBertCudaWeights** weights);
FASTBERT_API void fastbert_cuda_free_weights(FastBertCudaWeights* weights);

// 1 if a pass whose products have num_rows rows (its tokens, or batch * seq_len with padding kept) runs quantized products, else 0.
// They need compute capability 9.0 and code for sm_90a, float16 or bfloat16, hidden and inner sizes that are multiples of 32, a head
// size that is one of 8, a hidden size of at most 2048, and so many rows that they are faster. Otherwise the pass runs as without
// quantization, on the dequantized kernels.
FASTBERT_API int32_t fastbert_cuda_runs_quantized(const FastBertCudaEncoder* encoder, int64_t num_rows);

FASTBERT_API size_t fastbert_cuda_workspace_bytes(const FastBertCudaEncoder* encoder, int32_t batch, int32_t seq_len,
                                                  int32_t num_tokens, int32_t remove_padding);

// Optional: times cuBLASLt's algorithms for products of num_tokens rows and keeps the fastest for that range of token counts;
// without it cuBLASLt's own first choice is taken. Pays from about 600 tokens on. The workspace must have
// fastbert_cuda_workspace_bytes(encoder, 1, num_tokens, num_tokens, 1) bytes. Unlike everything else here this waits for the
// stream, for some tens of milliseconds. Forward passes may run meanwhile.
FASTBERT_API FastBertStatus fastbert_cuda_tune(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights,
                                               int32_t num_tokens, void* workspace, size_t workspace_bytes, void* stream);

// What has been tuned can be kept for other processes: a text that names the GPU and the version of cuBLASLt, and is used only where
// both are the same. tuned_table writes the text of everything that this encoder has tuned or taken from a loaded table, with its
// final zero byte, and sets *bytes_needed to its size (more than `bytes`: nothing is written; buffer may then be null).
// load_tuned_table keeps a text (or several, one after another) for encoders of this process that are created afterwards; it needs
// no GPU, and fails with the number of the line that is wrong.
FASTBERT_API FastBertStatus fastbert_cuda_tuned_table(const FastBertCudaEncoder* encoder, char* buffer, size_t bytes,
                                                      size_t* bytes_needed);
FASTBERT_API FastBertStatus fastbert_cuda_load_tuned_table(const char* text);

// Queues one forward pass on `stream`. The host arrays of `call` may be freed when it returns.
FASTBERT_API FastBertStatus fastbert_cuda_forward(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights,
                                                  const FastBertCall* call, void* workspace, size_t workspace_bytes,
                                                  void* stream);

// Runs one forward pass with an event around each step of the layer loop, waits for it, and writes at most `capacity` steps in
// their order (at most 2 * num_layers LAYER_NORMs and 5 other steps a layer, and a few around them; where a product does the work of
// a LAYER_NORM, that is a part of the product's step). Nothing is replayed from a CUDA graph
// here, so steps of a few microseconds are right only if the stream is busy while the host queues the pass: queue a millisecond of
// other work on it first.
FASTBERT_API FastBertStatus fastbert_cuda_profile(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights,
                                                  const FastBertCall* call, void* workspace, size_t workspace_bytes,
                                                  void* stream, FastBertStep* steps, int32_t capacity, int32_t* num_steps);

// The embedding layer: output[b, s] = LayerNorm(word_embeddings[input_ids[b, s]] + token_type_embeddings[token_type_ids[b, s]] +
// position_embeddings[s]) * gamma + beta, computed in float32; zero in rows of padding. H = hidden_size. An id outside of its table
// counts as a row of zeros.
typedef struct {
  const int32_t* input_ids;           // HOST, [B, S]
  const int32_t* token_type_ids;      // HOST, [B, S]
  const void* word_embeddings;        // device, [vocab_size, H], of `dtype`, as what follows
  const void* position_embeddings;    // device, at least [S, H]
  const void* token_type_embeddings;  // device, [num_token_types, H]
  const void* gamma;                  // device, [H]
  const void* beta;                   // device, [H]
  void* output;                       // device, [B, S, H]
  int32_t batch;
  int32_t seq_len;
  int32_t hidden_size;  // <= 8192
  int32_t vocab_size;
  int32_t num_token_types;  // (vocab_size + 1) * (num_token_types + 1) < 2^32
  float epsilon;
  int32_t dtype;                   // FastBertDataType
  const int32_t* sequence_length;  // HOST, as in FastBertCall; both null: no padding
  const int32_t* mask;             // HOST
} FastBertEmbeddingCall;

// Queues it on `stream`, for the current CUDA device. The host arrays may be freed when it returns.
FASTBERT_API FastBertStatus fastbert_cuda_embed(const FastBertEmbeddingCall* call, void* stream);

// The head of a question-answering BERT: start_logits[b, s] = hidden_states[b, s] . weights[0] + bias[0], end_logits with weights[1]
// and bias[1], summed up in float32; `padding` in rows of padding, whose hidden states are not read. H = hidden_size.
typedef struct {
  const void* hidden_states;  // device, [B, S, H], of `dtype`
  const void* weights;        // device, [2, H], of `weights_dtype`, as bias
  const void* bias;           // device, [2]
  float* start_logits;        // device, [B, S]
  float* end_logits;          // device, [B, S]
  int32_t batch;
  int32_t seq_len;
  int32_t hidden_size;
  int32_t dtype;                   // FastBertDataType
  int32_t weights_dtype;           // FastBertDataType
  float padding;
  const int32_t* sequence_length;  // HOST, as in FastBertCall; both null: no padding
  const int32_t* mask;             // HOST
} FastBertSpanLogitsCall;

// Queues it on `stream`, for the current CUDA device. The host arrays may be freed when it returns.
FASTBERT_API FastBertStatus fastbert_cuda_span_logits(const FastBertSpanLogitsCall* call, void* stream);

// For tests and benchmarks: which kernels forward uses from now on. FASTEST, the default, chooses by the number of tokens; LAYERS
// takes products of cuBLASLt and LayerNorms of their own; FUSED products with LayerNorm in their epilogues, wherever they are
// supported: Hopper, float16 or bfloat16, post-LN, head sizes that are multiples of 8, hidden and inner sizes that are multiples of
// 64, and no quantized products for so many rows.
FASTBERT_API FastBertStatus fastbert_cuda_choose_kernels(FastBertCudaEncoder* encoder, int32_t kernels);

// What this library works with: the CUDA runtime linked into it and the newest CUDA that the driver supports (0: no driver), both as
// 1000 * major + 10 * minor, and the cuBLASLt that was found: its version (10000 * major + 100 * minor + patch) and its file.
typedef struct {
  int32_t runtime;
  int32_t driver;
  uint64_t cublaslt;
  const char* cublaslt_path;  // lives as long as the process
} FastBertVersions;

// Needs no GPU. Fails, with runtime and driver filled in, where no cuBLASLt is found.
FASTBERT_API FastBertStatus fastbert_cuda_versions(FastBertVersions* versions);

FASTBERT_API const char* fastbert_cuda_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // TF_FASTBERT_CUDA_FASTBERT_CUDA_H_
