#include "cc/weight_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cc/content_hash.h"
#include "cc/tensor_buffers.h"
#include "cc/weight_fields.h"

namespace tf_fastbert {
namespace {

constexpr size_t kMaxSets = 4;

uint64_t HashInputs(tensorflow::OpKernelContext* ctx, int num_layers, const ParallelFor& parallel_for) {
  std::vector<std::pair<const void*, size_t>> ranges;
  ranges.reserve(kNumWeightFields * num_layers);
  for (int i = 0; i < kNumWeightFields * num_layers; ++i) {
    const tensorflow::Tensor& tensor = ctx->input(kFirstWeightInput + i);
    ranges.emplace_back(tensor.tensor_data().data(), tensor.tensor_data().size());
  }
  return HashRanges(ranges, parallel_for);
}

}  // namespace

absl::Status WeightCache::Get(tensorflow::OpKernelContext* ctx, const Encoder& encoder, const LayerWeights* layers, void* stream,
                              const ParallelFor* parallel_for, std::shared_ptr<WeightSet>* weights) {
  if (on_gpu_ && !immutable_) {
    *weights = NewSet(ctx, layers, 0);
    return Prepare(ctx, encoder, stream, parallel_for, weights->get());
  }
  const uint64_t hash = immutable_ ? 0 : HashInputs(ctx, num_layers_, *parallel_for);
  std::shared_ptr<WeightSet> set = Find(layers, hash);
  if (set == nullptr) set = FindOrAdd(ctx, layers, hash);
  set->last_used_.store(++clock_, std::memory_order_relaxed);
  std::call_once(set->once_, [&] {
    set->status_ = Prepare(ctx, encoder, stream, parallel_for, set.get());
    // The next call tries again; those already waiting get this error.
    if (!set->status_.ok()) Remove(set.get());
  });
  if (!set->status_.ok()) return set->status_;
  *weights = std::move(set);
  return absl::OkStatus();
}

std::shared_ptr<WeightSet> WeightCache::NewSet(tensorflow::OpKernelContext* ctx, const LayerWeights* layers,
                                               uint64_t hash) const {
  auto set = std::make_shared<WeightSet>();
  set->layers_.assign(layers, layers + num_layers_);
  set->hash_ = hash;
  if (immutable_) {
    set->sources_.reserve(kNumWeightFields * num_layers_);
    for (int i = 0; i < kNumWeightFields * num_layers_; ++i) set->sources_.push_back(ctx->input(kFirstWeightInput + i));
  }
  return set;
}

absl::Status WeightCache::Prepare(tensorflow::OpKernelContext* ctx, const Encoder& encoder, void* stream,
                                  const ParallelFor* parallel_for, WeightSet* set) const {
  void* buffer = nullptr;
  const absl::Status status = AllocateAligned(ctx, encoder.PreparedBytes(), "prepared weights", &set->buffer_, &buffer);
  if (!status.ok()) return status;
  return ToAbsl(encoder.Prepare(set->layers_.data(), buffer, stream, parallel_for, &set->prepared_));
}

bool WeightCache::SameAddresses(const WeightSet& set, const LayerWeights* layers) const {
  return std::memcmp(set.layers_.data(), layers, num_layers_ * sizeof(LayerWeights)) == 0;
}

bool WeightCache::Matches(const WeightSet& set, const LayerWeights* layers, uint64_t hash) const {
  return set.hash_ == hash && SameAddresses(set, layers);
}

// Immutable: a buffer that nobody but us refers to. Checked: the same buffers with other contents.
bool WeightCache::NeverUsedAgain(const WeightSet& set, const LayerWeights* layers) const {
  if (!immutable_) return SameAddresses(set, layers);
  return std::any_of(set.sources_.begin(), set.sources_.end(), [](const tensorflow::Tensor& t) { return t.RefCountIsOne(); });
}

std::shared_ptr<WeightSet> WeightCache::Find(const LayerWeights* layers, uint64_t hash) {
  std::shared_lock<std::shared_mutex> lock(mutex_);
  for (const auto& set : sets_) {
    if (Matches(*set, layers, hash)) return set;
  }
  return nullptr;
}

std::shared_ptr<WeightSet> WeightCache::FindOrAdd(tensorflow::OpKernelContext* ctx, const LayerWeights* layers, uint64_t hash) {
  std::vector<std::shared_ptr<WeightSet>> dropped;  // destroyed after the lock is released
  std::unique_lock<std::shared_mutex> lock(mutex_);
  for (const auto& set : sets_) {
    if (Matches(*set, layers, hash)) return set;
  }
  const auto keep_end =
      std::stable_partition(sets_.begin(), sets_.end(), [&](const auto& set) { return !NeverUsedAgain(*set, layers); });
  dropped.assign(keep_end, sets_.end());
  sets_.erase(keep_end, sets_.end());
  if (sets_.size() >= kMaxSets) {
    const auto oldest = std::min_element(sets_.begin(), sets_.end(), [](const auto& a, const auto& b) {
      return a->last_used_.load(std::memory_order_relaxed) < b->last_used_.load(std::memory_order_relaxed);
    });
    dropped.push_back(*oldest);
    sets_.erase(oldest);
  }
  auto set = NewSet(ctx, layers, hash);
  set->last_used_.store(++clock_, std::memory_order_relaxed);
  sets_.push_back(set);
  return set;
}

void WeightCache::Remove(const WeightSet* set) {
  std::unique_lock<std::shared_mutex> lock(mutex_);
  sets_.erase(std::remove_if(sets_.begin(), sets_.end(), [set](const auto& s) { return s.get() == set; }), sets_.end());
}

}  // namespace tf_fastbert
