// Tests of the CPU encoder without TensorFlow: random configurations against reference_encoder.h, accuracy after 12 layers, many
// calls at once, OpenMP kept out, refused configurations, and every instruction set's kernels. Workspace and output are poisoned
// before each call and have exactly the size asked for, so that AddressSanitizer sees every step outside. All of that also for
// CPUs with fewer instructions, as far as DNNL_MAX_CPU_ISA tells.
//
// Usage: encoder_test [number of configurations [first seed]]
#include <omp.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cc/cpu/encoder_test_case.h"
#include "cc/cpu/huge_pages.h"
#include "cc/cpu/kernels_test.h"
#include "cc/cpu/product_test.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace {

using reference::Matrix;

std::atomic<int> failures{0};

void Expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

struct Buffer {
  Buffer(size_t bytes, int poison) {
    // Not aligned_alloc, which wants a multiple of the alignment: the end must be where it is.
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0) std::abort();
    data = static_cast<char*>(memory);
    std::memset(data, poison, bytes);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  char* data;
};

void RunOnThreads(int64_t n, const std::function<void(int64_t)>& function) {
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < n; ++i) threads.emplace_back([&function, i] { function(i); });
  function(0);
  for (std::thread& thread : threads) thread.join();
}

int ThreadsOfProcess() {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) count += task.exists();
  return count;
}

void Compare(const TestCase& c, const Matrix& expected, const char* output, const std::string& name) {
  double error2 = 0, norm2 = 0, largest_error = 0, largest = 1, padding = 0;
  const size_t h = c.config.hidden_size, rows = static_cast<size_t>(c.batch) * c.seq_len;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = ElementAt(c.config.dtype, output, i), error = std::fabs(value - expected[i]);
    if (c.mask[i / h % rows] == 0) padding += std::fabs(value);
    error2 += error * error;
    norm2 += expected[i] * expected[i];
    if (!(error <= largest_error)) largest_error = error;  // true for NaN
    largest = std::fmax(largest, std::fabs(expected[i]));
  }
  // Post-LN outputs have unit scale, so that the limit is absolute for them; pre-LN outputs grow with the layers.
  if (c.config.layer_norm == LayerNormPlacement::kPost) largest = 1;
  const double relative = norm2 > 0 ? std::sqrt(error2 / norm2) : std::sqrt(error2);
  bool ok = c.config.dtype == DataType::kFloat32 ? largest_error <= 1e-4 * largest : relative <= 1e-2;
  // A value beside a rounding boundary may fall on its other side, one unit of 127 away.
  if (c.int8()) ok = relative <= 2e-2 + 5e-3 * (c.config.num_layers - 1);
  Expect(ok && padding == 0, name + ": largest error " + std::to_string(largest_error) + ", relative " +
                                 std::to_string(relative) + ", in padding " + std::to_string(padding));
}

// An encoder with prepared weights; null, and a failure noted, if something went wrong.
struct Ready {
  std::unique_ptr<Encoder> encoder;
  std::unique_ptr<Buffer> buffer;
  std::unique_ptr<PreparedWeights> weights;
};

Ready MakeReady(const TestCase& c, const ParallelFor& parallel_for) {
  Ready ready;
  Status status = CreateCpuEncoder(c.config, &ready.encoder);
  Expect(status.ok(), c.name + ": create: " + status.message);
  if (!status.ok()) return ready;
  ready.buffer = std::make_unique<Buffer>(ready.encoder->PreparedBytes(), 0xff);
  std::vector<LayerWeights> layers(c.config.num_layers);
  const std::vector<std::vector<char>> data = c.layer_data;  // dies before Run: nothing may point into it
  for (size_t i = 0; i < data.size(); ++i) reinterpret_cast<const void**>(&layers[i / 16])[i % 16] = data[i].data();
  status = ready.encoder->Prepare(layers.data(), c.int8() ? c.ranges.data() : nullptr, ready.buffer->data, nullptr, &parallel_for,
                                  &ready.weights);
  Expect(status.ok(), c.name + ": prepare: " + status.message);
  return ready;
}

void RunOnce(const TestCase& c, const Ready& ready, const ParallelFor& parallel_for, const Matrix& expected,
             const std::string& name) {
  Buffer workspace(ready.encoder->WorkspaceBytes(c.batch, c.seq_len, c.num_tokens, c.remove_padding, c.num_threads), 0xff);
  Buffer output(expected.size() * SizeOf(c.config.dtype), 0xab);
  EncoderCall call;
  call.input = c.input_data.data();
  call.output = output.data;
  call.batch = c.batch;
  call.seq_len = c.seq_len;
  call.sequence_length = c.lengths.data();
  call.num_tokens = c.num_tokens;
  call.mask = c.use_mask ? c.mask.data() : nullptr;
  call.remove_padding = c.remove_padding;
  call.workspace = workspace.data;
  call.parallel_for = &parallel_for;
  call.num_threads = c.num_threads;
  const Status status = ready.encoder->Run(*ready.weights, call);
  Expect(status.ok(), name + ": run: " + status.message);
  if (status.ok()) Compare(c, expected, output.data, name);
}

void TestEncoder(const TestCase& c, int concurrent_calls) {
  const ParallelFor parallel_for = RunOnThreads;
  const Ready ready = MakeReady(c, parallel_for);
  if (ready.weights == nullptr) return;
  const Matrix expected = ExpectedOutput(c);
  RunOnThreads(concurrent_calls, [&](int64_t index) {
    RunOnce(c, ready, parallel_for, expected, c.name + ", call " + std::to_string(index));
  });
}

void TestTwelveLayers() {
  for (Activation activation : {Activation::kGeluTanh, Activation::kGeluErf}) {
    TestCase c;
    c.config.num_layers = 12;
    c.config.num_heads = 4;
    c.config.size_per_head = 64;
    c.config.hidden_size = 256;
    c.config.inner_size = 1024;
    c.config.activation = activation;
    c.batch = 3;
    c.seq_len = 40;
    c.num_threads = 2;
    FillCase(1, &c);
    TestEncoder(c, 1);
  }
}

// More queries than an attention task takes, more keys than a block has.
void TestLongSequence() {
  TestCase c;
  c.config.num_layers = c.config.num_heads = 1;
  c.config.size_per_head = c.config.hidden_size = 32;
  c.config.inner_size = 64;
  c.seq_len = 1400;
  c.use_mask = true;
  FillCase(7, &c);
  Expect(c.num_tokens > 1024, "the long sequence has " + std::to_string(c.num_tokens) + " tokens");
  TestEncoder(c, 1);
}

// oneDNN must compute in the calling thread, and leave that thread's OpenMP setting as it was.
void TestOpenMpKeptOut() {
  omp_set_num_threads(7);
  const int threads_before = ThreadsOfProcess();
  const ParallelFor inline_for = [](int64_t n, const std::function<void(int64_t)>& function) {
    for (int64_t i = 0; i < n; ++i) function(i);
  };
  TestCase c;
  c.config.num_layers = c.config.num_heads = 2;
  c.config.size_per_head = 64;
  c.config.hidden_size = 128;
  c.config.inner_size = 512;
  c.batch = 4;
  c.seq_len = 64;
  FillCase(1, &c);
  const Ready ready = MakeReady(c, inline_for);
  if (ready.weights != nullptr) RunOnce(c, ready, inline_for, ExpectedOutput(c), c.name);
  Expect(ThreadsOfProcess() == threads_before, "OpenMP made a team of threads");
  Expect(omp_get_max_threads() == 7, "omp_set_num_threads(7) became " + std::to_string(omp_get_max_threads()));
}

void TestRefused() {
  const auto refused = [](const char* named, void (*change)(EncoderConfig*)) {
    EncoderConfig config;
    config.num_layers = config.num_heads = 2;
    config.size_per_head = 32;
    config.hidden_size = 64;
    config.inner_size = 128;
    change(&config);
    std::unique_ptr<Encoder> encoder;
    const Status status = CreateCpuEncoder(config, &encoder);
    Expect(status.code == Status::kInvalidArgument && status.message.find(named) != std::string::npos && encoder == nullptr,
           std::string("refuse ") + named + ": " + status.message);
  };
  refused("num_layers = 0", [](EncoderConfig* c) { c->num_layers = 0; });
  refused("num_heads = 0", [](EncoderConfig* c) { c->num_heads = 0; });
  refused("size_per_head = 33", [](EncoderConfig* c) { c->size_per_head = 33; });
  refused("size_per_head = 130", [](EncoderConfig* c) { c->size_per_head = 130; });
  refused("hidden_size = 65", [](EncoderConfig* c) { c->hidden_size = 65; });
  refused("inner_size = 0", [](EncoderConfig* c) { c->inner_size = 0; });
  refused("epsilon = -1", [](EncoderConfig* c) { c->epsilon = -1; });
}

// VmFlags of the mapping that holds the address, as /proc/self/smaps has them.
std::string FlagsOf(const char* address) {
  std::ifstream smaps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t begin, end;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      found = begin <= reinterpret_cast<uintptr_t>(address) && reinterpret_cast<uintptr_t>(address) < end;
    }
    if (found && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return "";
}

// What lies within, in whole huge pages, and nothing else.
void TestHugePages() {
  constexpr size_t kHuge = 2 << 20;
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage")) return;
  void* memory = nullptr;
  if (posix_memalign(&memory, kHuge, 16 * kHuge) != 0) std::abort();
  char* const data = static_cast<char*>(memory);
  cpu::AdviseHugePages(data + kHuge / 2, 3 * kHuge);
  const auto advised = [&](size_t at) { return FlagsOf(data + at).find(" hg ") != std::string::npos; };
  Expect(!advised(0) && !advised(kHuge - 1) && advised(kHuge) && advised(3 * kHuge - 1) && !advised(3 * kHuge), "huge pages");
  std::free(memory);
}

// Other instruction sets are tested by processes of their own: the libraries choose once.
void TestOtherInstructionSets(const char* program) {
  for (const char* isa : {"AVX512_CORE_BF16", "AVX512_CORE_VNNI", "AVX2"}) {
    const std::string command = std::string("DNNL_MAX_CPU_ISA=") + isa + " '" + program + "' 12 1000";
    std::printf("%s: ", isa);
    std::fflush(stdout);
    Expect(std::system(command.c_str()) == 0, command);
  }
}

}  // namespace
}  // namespace tf_fastbert

int main(int argc, char** argv) {
  using namespace tf_fastbert;
  const int count = argc > 1 ? std::atoi(argv[1]) : 60;
  const int first_seed = argc > 2 ? std::atoi(argv[2]) : 1;
  if (std::getenv("DNNL_MAX_CPU_ISA") == nullptr) TestOtherInstructionSets(argv[0]);
  TestOpenMpKeptOut();
  TestHugePages();
  failures += cpu::TestKernels();
  failures += cpu::TestProducts();
  TestRefused();
  TestTwelveLayers();
  TestLongSequence();
  for (int seed = first_seed; seed < first_seed + count; ++seed) TestEncoder(RandomCase(seed), seed % 5 == 0 ? 3 : 1);
  std::printf("%s: %d configurations, %d failures\n", failures == 0 ? "OK" : "FAILED", count, failures.load());
  return failures == 0 ? 0 : 1;
}
