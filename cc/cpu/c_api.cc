// The CPU encoder as a C library for benchmarks and other programs without TensorFlow; see c_api.h.
#include "cc/cpu/c_api.h"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cc/cpu/amx.h"
#include "cc/cpu/onednn.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace {

// Threads that sleep between calls. The caller works too.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // function(i) for i in [0, n). One call at a time.
  void Run(int64_t n, const std::function<void(int64_t)>& function) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      function_ = &function;
      count_ = n;
      next_ = 0;
    }
    changed_.notify_all();
    std::unique_lock<std::mutex> lock(mutex_);
    TakeAll(&lock);
    changed_.wait(lock, [this] { return running_ == 0; });
    function_ = nullptr;
    count_ = next_ = 0;
  }

 private:
  void TakeAll(std::unique_lock<std::mutex>* lock) {
    while (next_ < count_) {
      const int64_t index = next_++;
      const std::function<void(int64_t)>& function = *function_;
      ++running_;
      lock->unlock();
      function(index);
      lock->lock();
      if (--running_ == 0) changed_.notify_all();
    }
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopped_ || next_ < count_; });
      if (stopped_) return;
      TakeAll(&lock);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(int64_t)>* function_ = nullptr;
  int64_t count_ = 0, next_ = 0;
  int running_ = 0;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

// Grows, 256-byte aligned.
class Memory {
 public:
  ~Memory() { std::free(data_); }
  void* Reserve(size_t bytes) {
    if (bytes > bytes_) {
      std::free(data_);
      data_ = nullptr;
      bytes_ = 0;
      if (posix_memalign(&data_, 256, bytes) != 0) return data_ = nullptr;
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

int Report(const Status& status, char* error, size_t error_bytes) {
  if (status.ok()) return 0;
  if (error_bytes > 0) std::snprintf(error, error_bytes, "%s", status.message.c_str());
  return 1;
}

}  // namespace
}  // namespace tf_fastbert

struct FastBertCpu {
  explicit FastBertCpu(int threads) : threads(threads), pool(threads) {
    parallel_for = [this](int64_t n, const std::function<void(int64_t)>& function) { pool.Run(n, function); };
  }

  const int threads;
  tf_fastbert::Pool pool;
  tf_fastbert::ParallelFor parallel_for;
  tf_fastbert::Memory prepared, workspace;
  std::unique_ptr<tf_fastbert::Encoder> encoder;
  std::unique_ptr<tf_fastbert::PreparedWeights> weights;
};

int fastbert_cpu_create(const FastBertCpuConfig* from, const FastBertCpuWeights* layers, const FastBertCpuRanges* ranges,
                        int threads, FastBertCpu** created, char* error, size_t error_bytes) {
  using namespace tf_fastbert;
  static_assert(sizeof(FastBertCpuWeights) == sizeof(LayerWeights) && sizeof(FastBertCpuRanges) == sizeof(LayerRanges), "");
  EncoderConfig config;
  config.num_layers = from->num_layers;
  config.num_heads = from->num_heads;
  config.size_per_head = from->size_per_head;
  config.hidden_size = from->num_heads * from->size_per_head;
  config.inner_size = from->inner_size;
  config.dtype = static_cast<DataType>(from->dtype);
  config.quantization = static_cast<Quantization>(from->quantization);
  std::unique_ptr<FastBertCpu> bert(new FastBertCpu(threads));
  Status status = CreateCpuEncoder(config, &bert->encoder);
  if (status.ok()) {
    void* buffer = bert->prepared.Reserve(bert->encoder->PreparedBytes());
    std::vector<LayerWeights> weights(config.num_layers);
    std::memcpy(weights.data(), layers, weights.size() * sizeof(LayerWeights));
    std::vector<LayerRanges> amax(ranges == nullptr ? 0 : config.num_layers);
    if (ranges != nullptr) std::memcpy(static_cast<void*>(amax.data()), ranges, amax.size() * sizeof(LayerRanges));
    if (buffer == nullptr) status = Status::ResourceExhausted("out of memory: prepared weights");
    if (status.ok()) {
      status = bert->encoder->Prepare(weights.data(), ranges == nullptr ? nullptr : amax.data(), buffer, nullptr,
                                      &bert->parallel_for, &bert->weights);
    }
  }
  if (status.ok()) *created = bert.release();
  return Report(status, error, error_bytes);
}

int fastbert_cpu_run(FastBertCpu* bert, const void* input, void* output, int batch, int seq_len, const int32_t* lengths,
                     char* error, size_t error_bytes) {
  using namespace tf_fastbert;
  EncoderCall call;
  call.input = input;
  call.output = output;
  call.batch = batch;
  call.seq_len = seq_len;
  call.sequence_length = lengths;
  for (int b = 0; b < batch; ++b) call.num_tokens += lengths[b];
  call.workspace = bert->workspace.Reserve(bert->encoder->WorkspaceBytes(batch, seq_len, call.num_tokens, true, bert->threads));
  if (call.workspace == nullptr) return Report(Status::ResourceExhausted("out of memory: workspace"), error, error_bytes);
  call.parallel_for = &bert->parallel_for;
  call.num_threads = bert->threads;
  return Report(bert->encoder->Run(*bert->weights, call), error, error_bytes);
}

void fastbert_cpu_destroy(FastBertCpu* bert) { delete bert; }

const char* fastbert_cpu_instructions(void) {
  using namespace tf_fastbert::cpu;
  if (HasAmx()) return "AMX";
  if (HasFastBFloat16()) return "AVX512_BF16";
  return HasFastInt8() ? "VNNI" : "AVX2 or less";
}
