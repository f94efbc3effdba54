// BERT's encoder through the C ABI alone: random weights and inputs, timed with CUDA events.
//
//   bert_example batch layers seq heads size is_use_fp16 is_remove_padding int8_mode allow_gemm_test
//
// The arguments are those of FasterTransformer's bert_example. is_use_fp16: 0 float32, 1 float16, 2 bfloat16. Sequence lengths
// are spread evenly from seq / 8 to seq - seq / 8. Prints the milliseconds of one forward pass, launched kernel by kernel and
// replayed from a CUDA graph. Exits with 1 and one line on stderr if anything fails, or if an output is not finite.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/fastbert_cuda.h"

namespace {

constexpr int kWarmUp = 10;
constexpr int kRepeats = 50;

void Check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

void Check(FastBertStatus status, const char* what) {
  if (status != FASTBERT_OK) throw std::runtime_error(std::string(what) + ": " + fastbert_cuda_last_error());
}

class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes) { Check(cudaMalloc(&data_, std::max<size_t>(bytes, 1)), "cudaMalloc"); }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

size_t ElementSize(int dtype) { return dtype == FASTBERT_FLOAT32 ? 4 : 2; }

std::vector<char> Convert(const std::vector<float>& values, int dtype) {
  std::vector<char> bytes(values.size() * ElementSize(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case FASTBERT_FLOAT32: reinterpret_cast<float*>(bytes.data())[i] = values[i]; break;
      case FASTBERT_FLOAT16: reinterpret_cast<__half*>(bytes.data())[i] = __float2half(values[i]); break;
      case FASTBERT_BFLOAT16: reinterpret_cast<__nv_bfloat16*>(bytes.data())[i] = __float2bfloat16(values[i]); break;
    }
  }
  return bytes;
}

float ToFloat(const char* bytes, size_t i, int dtype) {
  if (dtype == FASTBERT_FLOAT16) return __half2float(reinterpret_cast<const __half*>(bytes)[i]);
  if (dtype == FASTBERT_BFLOAT16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(bytes)[i]);
  return reinterpret_cast<const float*>(bytes)[i];
}

// mean + scale * uniform noise in [-1, 1), on the device. Values repeat after 64K: drawing each would take longer than the run.
class RandomTensors {
 public:
  explicit RandomTensors(int dtype) : dtype_(dtype), noise_(1 << 16) {
    std::mt19937 engine(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    for (float& x : noise_) x = uniform(engine);
  }

  void* Make(size_t elements, float mean, float scale) {
    std::vector<float> values(elements);
    for (size_t i = 0; i < elements; ++i) values[i] = mean + scale * noise_[(i * 40503 + tensors_.size() * 977) % noise_.size()];
    const std::vector<char> bytes = Convert(values, dtype_);
    tensors_.push_back(std::make_unique<DeviceBuffer>(bytes.size()));
    Check(cudaMemcpy(tensors_.back()->get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
    return tensors_.back()->get();
  }

 private:
  const int dtype_;
  std::vector<float> noise_;
  std::vector<std::unique_ptr<DeviceBuffer>> tensors_;
};

FastBertLayerWeights MakeLayer(const FastBertConfig& config, RandomTensors* random) {
  const size_t h = static_cast<size_t>(config.num_heads) * config.size_per_head, i = config.inner_size;
  const auto kernel = [&](size_t rows, size_t columns) {
    return random->Make(rows * columns, 0.0f, 1.7f / std::sqrt(float(rows)));
  };
  const auto bias = [&](size_t n) { return random->Make(n, 0.0f, 0.1f); };
  const auto gamma = [&] { return random->Make(h, 1.0f, 0.1f); };
  FastBertLayerWeights w;
  w.query_kernel = kernel(h, h);
  w.query_bias = bias(h);
  w.key_kernel = kernel(h, h);
  w.key_bias = bias(h);
  w.value_kernel = kernel(h, h);
  w.value_bias = bias(h);
  w.attention_output_kernel = kernel(h, h);
  w.attention_output_bias = bias(h);
  w.attention_layer_norm_gamma = gamma();
  w.attention_layer_norm_beta = bias(h);
  w.intermediate_kernel = kernel(h, i);
  w.intermediate_bias = bias(i);
  w.output_kernel = kernel(i, h);
  w.output_bias = bias(h);
  w.output_layer_norm_gamma = gamma();
  w.output_layer_norm_beta = bias(h);
  return w;
}

// Median of kRepeats runs, in milliseconds.
float Time(cudaStream_t stream, const std::function<void()>& run) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin), "cudaEventCreate");
  Check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = 0; i < kWarmUp + kRepeats; ++i) {
    Check(cudaEventRecord(begin, stream), "cudaEventRecord");
    run();
    Check(cudaEventRecord(end, stream), "cudaEventRecord");
    Check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float ms = 0.0f;
    Check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= kWarmUp) times.push_back(ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

int IntArgument(const char* name, const char* text) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < 0 || value > (1 << 20)) {
    throw std::runtime_error(std::string(name) + " = '" + text + "' is not a number from 0 to 1048576");
  }
  return static_cast<int>(value);
}

void Run(char** argv) {
  const int batch = IntArgument("batch", argv[1]);
  const int seq_len = IntArgument("seq", argv[3]);
  FastBertConfig config = {};
  config.num_layers = IntArgument("layers", argv[2]);
  config.num_heads = IntArgument("heads", argv[4]);
  config.size_per_head = IntArgument("size", argv[5]);
  config.inner_size = 4 * config.num_heads * config.size_per_head;
  config.epsilon = 1e-12f;
  config.activation = FASTBERT_GELU_TANH;
  config.layer_norm = FASTBERT_POST_LAYER_NORM;
  config.dtype = IntArgument("is_use_fp16", argv[6]);
  const int remove_padding = IntArgument("is_remove_padding", argv[7]);
  if (IntArgument("int8_mode", argv[8]) != 0)
    throw std::runtime_error(std::string("int8_mode ") + argv[8] +
                             ": this example's weights are float (quantized: fastbert_cuda_pack_quantized_weights); give 0");
  const bool tune = IntArgument("allow_gemm_test", argv[9]) != 0;
  if (batch == 0 || seq_len == 0) throw std::runtime_error("batch and seq must be at least 1");

  FastBertCudaEncoder* encoder = nullptr;
  Check(fastbert_cuda_create(&config, &encoder), "fastbert_cuda_create");
  cudaStream_t stream;
  Check(cudaStreamCreate(&stream), "cudaStreamCreate");
  RandomTensors random(config.dtype);
  std::vector<FastBertLayerWeights> layers;
  for (int i = 0; i < config.num_layers; ++i) layers.push_back(MakeLayer(config, &random));
  DeviceBuffer packed(fastbert_cuda_packed_bytes(encoder));
  FastBertCudaWeights* weights = nullptr;
  Check(fastbert_cuda_pack_weights(encoder, layers.data(), packed.get(), stream, &weights), "fastbert_cuda_pack_weights");

  std::vector<int32_t> lengths(batch);
  int num_tokens = 0;
  const double shortest = std::max(1, seq_len / 8), longest = std::max(1, seq_len - seq_len / 8);
  for (int b = 0; b < batch; ++b) {
    lengths[b] = batch == 1 ? std::max(1, seq_len / 2)
                            : static_cast<int32_t>(std::lround(shortest + (longest - shortest) * b / (batch - 1)));
    num_tokens += lengths[b];
  }
  const size_t hidden = static_cast<size_t>(config.num_heads) * config.size_per_head;
  const size_t elements = static_cast<size_t>(batch) * seq_len * hidden;
  DeviceBuffer output(elements * ElementSize(config.dtype));
  const size_t workspace_bytes = fastbert_cuda_workspace_bytes(encoder, batch, seq_len, num_tokens, remove_padding);
  DeviceBuffer workspace(workspace_bytes);
  FastBertCall call = {};
  call.input = random.Make(elements, 0.0f, 1.7f);
  call.output = output.get();
  call.batch = batch;
  call.seq_len = seq_len;
  call.sequence_length = lengths.data();
  call.remove_padding = remove_padding;
  const auto forward = [&] {
    Check(fastbert_cuda_forward(encoder, weights, &call, workspace.get(), workspace_bytes, stream), "fastbert_cuda_forward");
  };
  if (tune) {
    const int rows = remove_padding ? num_tokens : batch * seq_len;
    const size_t bytes = fastbert_cuda_workspace_bytes(encoder, 1, rows, rows, 1);
    DeviceBuffer scratch(bytes);
    Check(fastbert_cuda_tune(encoder, weights, rows, scratch.get(), bytes, stream), "fastbert_cuda_tune");
  }
  Check(cudaMemset(output.get(), 0xFF, elements * ElementSize(config.dtype)), "cudaMemset");
  const float launched_ms = Time(stream, forward);

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  forward();
  Check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  Check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  const float graph_ms = Time(stream, [&] { Check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch"); });

  std::vector<char> host(elements * ElementSize(config.dtype));
  Check(cudaMemcpy(host.data(), output.get(), host.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
  double sum = 0.0;
  for (size_t i = 0; i < elements; ++i) sum += std::fabs(ToFloat(host.data(), i, config.dtype));
  if (!std::isfinite(sum)) throw std::runtime_error("the output has values that are not finite");

  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  const char* dtype_names[] = {"float32", "float16", "bfloat16"};
  std::printf("%s: batch %d, seq %d, tokens %d (%.0f %% padding), layers %d, heads %d x %d, %s, padding %s\n", properties.name,
              batch, seq_len, num_tokens, 100.0 * (1.0 - double(num_tokens) / (double(batch) * seq_len)), config.num_layers,
              config.num_heads, config.size_per_head, dtype_names[config.dtype], remove_padding ? "removed" : "kept");
  std::printf("encoder time: %.3f ms launched, %.3f ms as a CUDA graph (median of %d)\n", launched_ms, graph_ms, kRepeats);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  fastbert_cuda_free_weights(weights);
  fastbert_cuda_destroy(encoder);
  cudaStreamDestroy(stream);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) {
    std::fprintf(stderr, "usage: %s batch layers seq heads size is_use_fp16 is_remove_padding int8_mode allow_gemm_test\n",
                 argv[0]);
    return 1;
  }
  try {
    Run(argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bert_example: %s\n", e.what());
    return 1;
  }
  return 0;
}
