// The CPU backend behind cc/encoder.h: checks, products and prepared weights; forward.h does the work of a call.
#include "cc/encoder.h"

#include <cmath>
#include <climits>
#include <cstdint>
#include <cstring>
#include <string>

#include "cc/cpu/forward.h"
#include "cc/cpu/huge_pages.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/weights.h"

namespace tf_fastbert {
namespace {

Status CheckConfig(const EncoderConfig& config) {
  const auto refuse = [](const char* name, const std::string& value, const char* must) {
    return Status::InvalidArgument(std::string("CPU encoder: ") + name + " = " + value + ", but it must be " + must);
  };
  if (config.num_layers < 1) return refuse("num_layers", std::to_string(config.num_layers), "at least 1");
  if (config.num_heads < 1) return refuse("num_heads", std::to_string(config.num_heads), "at least 1");
  if (config.size_per_head < 2 || config.size_per_head > 128 || config.size_per_head % 2 != 0) {
    return refuse("size_per_head", std::to_string(config.size_per_head), "even and between 2 and 128");
  }
  const int64_t hidden = static_cast<int64_t>(config.num_heads) * config.size_per_head;
  if (hidden > INT_MAX / 3) return refuse("num_heads * size_per_head", std::to_string(hidden), "smaller");
  if (config.hidden_size != hidden) {
    return refuse("hidden_size", std::to_string(config.hidden_size),
                  ("num_heads * size_per_head = " + std::to_string(hidden)).c_str());
  }
  if (config.inner_size < 1) return refuse("inner_size", std::to_string(config.inner_size), "at least 1");
  if (!(config.epsilon >= 0) || std::isinf(config.epsilon)) {
    return refuse("epsilon", std::to_string(config.epsilon), "finite and not negative");
  }
  return Status::Ok();
}

class CpuEncoder : public Encoder {
 public:
  explicit CpuEncoder(const EncoderConfig& config) : config_(config), policy_(cpu::ChoosePolicy(config)) {}

  Status Initialize() { return cpu::CreateLayerProducts(config_, policy_, &products_); }

  size_t PreparedBytes() const override { return cpu::PreparedWeightsBytes(config_, products_); }

  Status Prepare(const LayerWeights* layers, const LayerRanges* ranges, void* buffer, void* /*stream*/,
                 const ParallelFor* parallel_for, std::unique_ptr<PreparedWeights>* prepared) const override {
    cpu::AdviseHugePages(buffer, PreparedBytes());
    return cpu::CatchErrors("preparing the weights", [&] {
      return cpu::PrepareWeights(config_, products_, layers, ranges, buffer, parallel_for, prepared);
    });
  }

  size_t WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding, int num_threads) const override {
    cpu::Plan plan;
    if (num_tokens <= 0 || static_cast<int64_t>(batch) * seq_len > kMaxRows) return 0;
    // Run meets the same error, if there is one, and returns it.
    const Status status =
        cpu::MakePlan(config_, policy_, products_, batch, seq_len, num_tokens, remove_padding, num_threads, &plan);
    return status.ok() ? plan.workspace.bytes : 0;
  }

  Status Run(const PreparedWeights& weights, const EncoderCall& call) const override {
    const int64_t rows = static_cast<int64_t>(call.batch) * call.seq_len;
    if (rows > kMaxRows) {
      return Status::InvalidArgument("CPU encoder: batch * seq_len = " + std::to_string(call.batch) + " * " +
                                     std::to_string(call.seq_len) + " exceeds " + std::to_string(kMaxRows));
    }
    if (call.num_tokens == 0) {
      const int64_t slabs = config_.all_layers ? config_.num_layers : 1;
      std::memset(call.output, 0, slabs * rows * config_.hidden_size * SizeOf(config_.dtype));
      return Status::Ok();
    }
    cpu::Plan plan;
    const Status status = cpu::MakePlan(config_, policy_, products_, call.batch, call.seq_len, call.num_tokens,
                                        call.remove_padding, call.num_threads, &plan);
    if (!status.ok()) return status;
    if (call.workspace == nullptr) return Status::Internal("CPU encoder: no workspace");
    cpu::AdviseHugePages(call.workspace, plan.workspace.bytes);
    return cpu::Forward(config_, policy_, products_, static_cast<const cpu::CpuPreparedWeights&>(weights), plan, call).Run();
  }

 private:
  // Row numbers are int32, rounded up to a multiple of kRowGranularity.
  static constexpr int64_t kMaxRows = INT_MAX - cpu::kRowGranularity;

  const EncoderConfig config_;
  const cpu::Policy policy_;
  cpu::LayerProducts products_;
};

}  // namespace

Status CreateCpuEncoder(const EncoderConfig& config, std::unique_ptr<Encoder>* encoder) {
  const Status status = CheckConfig(config);
  if (!status.ok()) return status;
  return cpu::CatchErrors("CPU encoder", [&] {
    auto created = std::make_unique<CpuEncoder>(config);
    const Status initialized = created->Initialize();
    if (initialized.ok()) *encoder = std::move(created);
    return initialized;
  });
}

}  // namespace tf_fastbert
