#include "cc/weight_cache.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "cc/amax_list.h"
#include "cc/content_hash.h"
#include "cc/tensor_buffers.h"
#include "cc/weight_fields.h"
#include "tensorflow/core/common_runtime/dma_helper.h"

namespace tf_fastbert {
namespace {

constexpr size_t kMaxSets = 4;

// Of the inputs from `first` on.
uint64_t HashInputs(tensorflow::OpKernelContext* ctx, int first, const ParallelFor& parallel_for) {
  std::vector<std::pair<const void*, size_t>> ranges;
  ranges.reserve(ctx->num_inputs() - first);
  for (int i = first; i < ctx->num_inputs(); ++i) {
    const tensorflow::Tensor& tensor = ctx->input(i);
    ranges.emplace_back(tensor.tensor_data().data(), tensor.tensor_data().size());
  }
  return HashRanges(ranges, parallel_for);
}

bool OwnsAllInputs(tensorflow::OpKernelContext* ctx) {
  for (int i = kFirstWeightInput; i < ctx->num_inputs(); ++i) {
    const tensorflow::TensorBuffer* buffer = tensorflow::DMAHelper::buffer(&ctx->input(i));
    if (!buffer->OwnsMemory()) return false;
  }
  return true;
}

}  // namespace

absl::Status WeightCache::Get(tensorflow::OpKernelContext* ctx, const Encoder& encoder, const LayerWeights* layers,
                              const float* const* amax_lists, void* stream, const ParallelFor* parallel_for,
                              std::shared_ptr<WeightSet>* weights) {
  Key key = {layers, amax_lists, immutable_ && OwnsAllInputs(ctx), 0};
  if (!key.immutable && on_gpu_) {
    *weights = NewSet(ctx, key);
    return Prepare(ctx, encoder, stream, parallel_for, weights->get());
  }
  while (true) {
    if (!key.immutable) key.hash = HashInputs(ctx, kFirstWeightInput, *parallel_for);
    std::shared_ptr<WeightSet> set = Find(key);
    if (set == nullptr) {
      if (key.immutable && quantized()) key.hash = HashInputs(ctx, FirstAmaxInput(config_.num_layers), *parallel_for);
      set = FindOrAdd(ctx, key);
    }
    set->last_used_.store(++clock_, std::memory_order_relaxed);
    bool prepared_here = false;
    std::call_once(set->once_, [&] {
      prepared_here = true;
      set->status_ = Prepare(ctx, encoder, stream, parallel_for, set.get());
      // Weights that were overwritten after they were hashed: the set does not hold what its hash says.
      set->overwritten_ = !key.immutable && set->status_.ok() && HashInputs(ctx, kFirstWeightInput, *parallel_for) != key.hash;
      // The next call tries again; those already waiting get this error.
      if (!set->status_.ok() || set->overwritten_) Remove(set.get());
    });
    if (!set->status_.ok()) return set->status_;
    // Another call prepared it from weights that were changing, perhaps before this call began: once more, with a new set.
    if (set->overwritten_ && !prepared_here) continue;
    *weights = std::move(set);
    return absl::OkStatus();
  }
}

std::shared_ptr<WeightSet> WeightCache::NewSet(tensorflow::OpKernelContext* ctx, const Key& key) const {
  auto set = std::make_shared<WeightSet>();
  set->layers_.assign(key.layers, key.layers + config_.num_layers);
  if (quantized()) set->amax_lists_.assign(key.amax_lists, key.amax_lists + config_.num_layers);
  set->immutable_ = key.immutable;
  set->hash_ = key.hash;
  if (key.immutable) {
    // Once for each buffer, also where layers share weights: NeverUsedAgain counts references.
    std::set<const void*> held;
    for (int i = kFirstWeightInput; i < FirstAmaxInput(config_.num_layers); ++i) {
      const tensorflow::Tensor& tensor = ctx->input(i);
      if (held.insert(tensor.tensor_data().data()).second) set->sources_.push_back(tensor);
    }
    for (int i = FirstAmaxInput(config_.num_layers); i < ctx->num_inputs(); ++i) set->ranges_.push_back(ctx->input(i));
  }
  return set;
}

absl::Status WeightCache::Prepare(tensorflow::OpKernelContext* ctx, const Encoder& encoder, void* stream,
                                  const ParallelFor* parallel_for, WeightSet* set) const {
  std::vector<LayerRanges> ranges;
  if (quantized()) {
    const Status parsed = ParseAmaxLists(config_, set->amax_lists_.data(), &ranges);
    if (!parsed.ok()) return ToAbsl(parsed);
  }
  void* buffer = nullptr;
  const absl::Status status = AllocateAligned(ctx, encoder.PreparedBytes(), "prepared weights", &set->buffer_, &buffer);
  if (!status.ok()) return status;
  return ToAbsl(encoder.Prepare(set->layers_.data(), quantized() ? ranges.data() : nullptr, buffer, stream, parallel_for,
                                &set->prepared_));
}

bool WeightCache::SameWeights(const WeightSet& set, const Key& key) const {
  return std::memcmp(set.layers_.data(), key.layers, config_.num_layers * sizeof(LayerWeights)) == 0;
}

bool WeightCache::SameRanges(const WeightSet& set, const Key& key) const {
  return set.hash_ == key.hash || std::equal(set.amax_lists_.begin(), set.amax_lists_.end(), key.amax_lists);
}

bool WeightCache::Matches(const WeightSet& set, const Key& key) const {
  if (set.immutable_ != key.immutable) return false;
  return key.immutable ? SameWeights(set, key) && SameRanges(set, key) : set.hash_ == key.hash;
}

// For a set that does not match. The same buffers with other contents, or with other ranges; immutable: a buffer that nobody but
// us refers to.
bool WeightCache::NeverUsedAgain(const WeightSet& set, const Key& key) const {
  if (SameWeights(set, key)) return true;
  const auto ours_alone = [](const tensorflow::Tensor& tensor) { return tensor.RefCountIsOne(); };
  return set.immutable_ && std::any_of(set.sources_.begin(), set.sources_.end(), ours_alone);
}

std::shared_ptr<WeightSet> WeightCache::Find(const Key& key) {
  std::shared_lock<std::shared_mutex> lock(mutex_);
  for (const auto& set : sets_) {
    if (Matches(*set, key)) return set;
  }
  return nullptr;
}

std::shared_ptr<WeightSet> WeightCache::FindOrAdd(tensorflow::OpKernelContext* ctx, const Key& key) {
  std::vector<std::shared_ptr<WeightSet>> dropped;  // destroyed after the lock is released
  std::unique_lock<std::shared_mutex> lock(mutex_);
  for (const auto& set : sets_) {
    if (Matches(*set, key)) return set;
  }
  const auto keep_end =
      std::stable_partition(sets_.begin(), sets_.end(), [&](const auto& set) { return !NeverUsedAgain(*set, key); });
  dropped.assign(keep_end, sets_.end());
  sets_.erase(keep_end, sets_.end());
  if (sets_.size() >= kMaxSets) {
    const auto oldest = std::min_element(sets_.begin(), sets_.end(), [](const auto& a, const auto& b) {
      return a->last_used_.load(std::memory_order_relaxed) < b->last_used_.load(std::memory_order_relaxed);
    });
    dropped.push_back(*oldest);
    sets_.erase(oldest);
  }
  auto set = NewSet(ctx, key);
  set->last_used_.store(++clock_, std::memory_order_relaxed);
  sets_.push_back(set);
  return set;
}

void WeightCache::Remove(const WeightSet* set) {
  std::unique_lock<std::shared_mutex> lock(mutex_);
  sets_.erase(std::remove_if(sets_.begin(), sets_.end(), [set](const auto& s) { return s.get() == set; }), sets_.end());
}

}  // namespace tf_fastbert
