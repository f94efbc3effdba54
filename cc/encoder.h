// The interface that both backends (cc/cpu, cuda through cc/cuda_backend) implement and the OpKernel calls.
//
// No TensorFlow header here: a backend can be built, tested and sanitized without TensorFlow.
// Three kinds of structs: EncoderConfig says what the model is (once), PreparedWeights holds what was made of the
// weights (once per set of weights), EncoderCall holds pointers and counts (every call).
#ifndef TF_FASTBERT_CC_ENCODER_H_
#define TF_FASTBERT_CC_ENCODER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace tf_fastbert {

enum class DataType { kFloat32, kFloat16, kBFloat16 };
enum class Activation { kGeluTanh, kGeluErf, kRelu };
// kPost (BERT): x = LN(x + f(x)). kPre: x = x + f(LN(x)), with attention_layer_norm in front of attention, output_layer_norm in
// front of the feed-forward part, and no LayerNorm after the last layer.
enum class LayerNormPlacement { kPost, kPre };
// kFull: matrix products in the tensors' own type, accumulated in float32. kTf32: float32 products may round their inputs to TF32
// where the hardware has it; a permission, not an order.
enum class Precision { kFull, kTf32 };
// How the layers' matrix products are computed; names as in tf_fastbert/quantization. kInt8Mode1: weights quantized per output
// channel, residual stream in EncoderConfig::dtype. kInt8Mode2 (and 3, which differs in training only): weights quantized per
// tensor, residual stream in int8 between the layers. kFp8: E4M3 with one scale a tensor.
enum class Quantization { kNone, kInt8Mode1, kInt8Mode2, kFp8 };

inline size_t SizeOf(DataType dtype) { return dtype == DataType::kFloat32 ? 4 : 2; }

struct Status {
  enum Code { kOk, kInvalidArgument, kUnimplemented, kResourceExhausted, kInternal };
  Code code = kOk;
  std::string message;

  bool ok() const { return code == kOk; }
  static Status Ok() { return {}; }
  static Status InvalidArgument(std::string m) { return {kInvalidArgument, std::move(m)}; }
  static Status Unimplemented(std::string m) { return {kUnimplemented, std::move(m)}; }
  static Status ResourceExhausted(std::string m) { return {kResourceExhausted, std::move(m)}; }
  static Status Internal(std::string m) { return {kInternal, std::move(m)}; }
};

struct EncoderConfig {
  int num_layers = 0;
  int num_heads = 0;
  int size_per_head = 0;  // even, <= 128
  int hidden_size = 0;    // == num_heads * size_per_head
  int inner_size = 0;
  float epsilon = 1e-12f;
  Activation activation = Activation::kGeluTanh;
  LayerNormPlacement layer_norm = LayerNormPlacement::kPost;
  DataType dtype = DataType::kFloat32;
  Precision precision = Precision::kFull;
  bool all_layers = false;
  Quantization quantization = Quantization::kNone;
};

// The ranges (amax: the largest absolute value that is represented) of one layer's quantizers, all positive and finite. A value x
// becomes clamp(round(x * 127 / amax), -127, 127). Host memory. cc/amax_list.h reads them from a checkpoint's amaxList and says
// which of Google's tensors each belongs to.
struct LayerRanges {
  float attention_input = 1;     // input of the query, key and value products
  float query_sum = 1;           // query product before its bias ("aftergemm"); likewise key_sum, value_sum
  float key_sum = 1;
  float value_sum = 1;
  float query = 1;               // query with bias: operand of query * key'
  float key = 1;
  float value = 1;
  float softmax_input = 1;       // scores, before the softmax
  float softmax_output = 1;      // probabilities: operand of probabilities * value
  float context = 1;             // input of the attention output product
  float attention_output_sum = 1;
  float intermediate_input = 1;
  float intermediate_sum = 1;
  float output_input = 1;        // after the activation
  float output_sum = 1;
  float next_input = 1;          // attention_input of the next layer; 1 in the last
  const float* query_kernel = nullptr;             // [H], per output channel; one value repeated in mode 2
  const float* key_kernel = nullptr;               // [H]
  const float* value_kernel = nullptr;             // [H]
  const float* attention_output_kernel = nullptr;  // [H]
  const float* intermediate_kernel = nullptr;      // [I]
  const float* output_kernel = nullptr;            // [H]
};

// One layer's weights in Google's shapes, row-major, of EncoderConfig::dtype; with kInt8Mode1 and 2 the six kernels are int8.
// H = hidden_size, I = inner_size.
struct LayerWeights {
  const void* query_kernel;  // [H, H], input dimension first
  const void* query_bias;    // [H]
  const void* key_kernel;
  const void* key_bias;
  const void* value_kernel;
  const void* value_bias;
  const void* attention_output_kernel;      // [H, H]
  const void* attention_output_bias;        // [H]
  const void* attention_layer_norm_gamma;   // [H]
  const void* attention_layer_norm_beta;    // [H]
  const void* intermediate_kernel;          // [H, I]
  const void* intermediate_bias;            // [I]
  const void* output_kernel;                // [I, H]
  const void* output_bias;                  // [H]
  const void* output_layer_norm_gamma;      // [H]
  const void* output_layer_norm_beta;       // [H]
};

// What a backend made of one set of weights. On a GPU it may keep pointers to the source weights, which therefore must outlive it
// unchanged; the caller guarantees that. On the CPU it keeps none: it is a function of their contents alone.
class PreparedWeights {
 public:
  virtual ~PreparedWeights() = default;
};

// Runs fn(i) for every i in [0, n), on the caller's thread pool, and returns when all are done.
using ParallelFor = std::function<void(int64_t n, const std::function<void(int64_t)>& fn)>;

struct EncoderCall {
  const void* input = nullptr;  // [batch, seq_len, H]
  void* output = nullptr;       // [batch, seq_len, H], or [num_layers, batch, seq_len, H] if all_layers; padding rows become zero
  int batch = 0;
  int seq_len = 0;
  // In host memory, already validated: 0 <= sequence_length[b] <= seq_len is the number of valid tokens of sequence b, and
  // num_tokens is their sum.
  const int32_t* sequence_length = nullptr;  // [batch]
  int num_tokens = 0;
  // In host memory, [batch, seq_len], nonzero = valid; null when the valid tokens are the first sequence_length[b] of each row.
  const int32_t* mask = nullptr;
  // false: matrix products run over all batch * seq_len rows, as a padded graph would.
  bool remove_padding = true;

  void* workspace = nullptr;  // WorkspaceBytes(...) bytes, 256-byte aligned, uninitialised
  void* stream = nullptr;     // cudaStream_t; unused on the CPU
  const ParallelFor* parallel_for = nullptr;  // CPU only
  int num_threads = 1;                        // CPU only: width of parallel_for
};

// Thread-safe: every method may be called from many threads at once.
class Encoder {
 public:
  virtual ~Encoder() = default;

  // Bytes that Prepare writes to `buffer` (256-byte aligned, memory of the backend's device).
  virtual size_t PreparedBytes() const = 0;

  // Prepares config.num_layers weights into `buffer`, which must outlive the result. On a GPU the work is queued on `stream`, and
  // Run on any stream waits for it. `ranges`: num_layers of them, or null when the config has no quantization; not kept.
  virtual Status Prepare(const LayerWeights* layers, const LayerRanges* ranges, void* buffer, void* stream,
                         const ParallelFor* parallel_for, std::unique_ptr<PreparedWeights>* prepared) const = 0;

  virtual size_t WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding, int num_threads) const = 0;

  virtual Status Run(const PreparedWeights& weights, const EncoderCall& call) const = 0;
};

// Each fails with the name and value of what it does not support.
Status CreateCpuEncoder(const EncoderConfig& config, std::unique_ptr<Encoder>* encoder);
// What the CPU backend computes each type with on this machine, as JSON: {"vectors": string, "amx", "bfloat16", "int8": bool,
// "types": {name: {"products": string, "attention": string}}}.
std::string DescribeCpuEncoder();
// For the current CUDA device. Only in libraries built with CUDA.
Status CreateCudaEncoder(const EncoderConfig& config, std::unique_ptr<Encoder>* encoder);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_ENCODER_H_
