// Prepared weights of one encoder, and how it is known that they are not stale.
//
// Staleness. A set of prepared weights is used again only if the tensors it was made of have not changed since. That is known in
// one of two ways, according to the op's attr `weights`:
//
//   immutable  The addresses of all weight buffers are compared, and the set holds a reference to each of these tensors. While it
//              does, nobody can free a buffer (so its address cannot come back with other contents), and TensorFlow does not
//              write to it: a Const is never written, and every op that updates a resource variable in place
//              (Assign*VariableOp, Apply*, scatter) first makes sure that it owns the buffer alone, or copies. Python
//              (tf_fastbert/ops.py) sets `immutable` only where it sees such a producer.
//   checked    Any other producer, such as a TF1 ref variable, which tf.assign overwrites in place. On the CPU, a 64-bit hash of all
//              contents is computed on each call and compared, and no reference is held: the CPU backend's prepared weights keep no
//              pointer to what they were made of. On a GPU nothing is cached: the weights are prepared on each call.
//
// A call with `immutable` is still treated as `checked` if a buffer's memory is not TensorFlow's own: an array that a session
// feeds in place of a constant, or a DLPack tensor that a variable was assigned from, can be overwritten behind its back.
//
// The ranges of quantized layers (amax_list) belong to a set as its weights do, under both attrs. They are in host memory and
// small, and those of a variable on a GPU come as a new copy for each call: so where the addresses of weights are compared,
// ranges at another address are compared by a hash of their contents.
//
// A variable that is written while a call reads it gives that call a mixture, as in any TensorFlow op. The mixture is not kept: a
// `checked` set is hashed again when it has been prepared, and dropped if the weights have changed meanwhile.
//
// Size. An eager kernel is shared by all models with the same attributes, so a few sets are kept. Sets whose variables have moved
// on to another buffer (we hold the only reference) go at once, the least recently used one goes when there are too many.
#ifndef TF_FASTBERT_CC_WEIGHT_CACHE_H_
#define TF_FASTBERT_CC_WEIGHT_CACHE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "absl/status/status.h"
#include "cc/encoder.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

// One set of prepared weights. Keep the shared_ptr until the call that uses them has been queued.
class WeightSet {
 public:
  const PreparedWeights& prepared() const { return *prepared_; }

 private:
  friend class WeightCache;
  std::vector<LayerWeights> layers_;      // the addresses it was made of
  std::vector<const float*> amax_lists_;  // likewise; empty without quantization
  bool immutable_ = false;
  uint64_t hash_ = 0;                        // checked: of all contents; immutable: of the ranges, or 0
  std::vector<tensorflow::Tensor> sources_;  // immutable: the references to weights
  std::vector<tensorflow::Tensor> ranges_;   // immutable: the references to ranges
  std::once_flag once_;                      // preparation, on the first caller's thread; others wait for it
  absl::Status status_;
  bool overwritten_ = false;  // checked: the weights changed while they were prepared
  tensorflow::Tensor buffer_;
  std::unique_ptr<PreparedWeights> prepared_;
  std::atomic<uint64_t> last_used_{0};
};

class WeightCache {
 public:
  WeightCache(const EncoderConfig& config, bool immutable, bool on_gpu)
      : config_(config), immutable_(immutable), on_gpu_(on_gpu) {}

  // The weights are the inputs of `ctx`, their shapes checked by the caller, and `layers` holds their addresses; so does
  // `amax_lists` with quantization, else it is not read.
  absl::Status Get(tensorflow::OpKernelContext* ctx, const Encoder& encoder, const LayerWeights* layers,
                   const float* const* amax_lists, void* stream, const ParallelFor* parallel_for,
                   std::shared_ptr<WeightSet>* weights);

 private:
  // What a call asks for.
  struct Key {
    const LayerWeights* layers;
    const float* const* amax_lists;
    bool immutable;
    uint64_t hash;  // as WeightSet::hash_; immutable: 0 before it is computed
  };
  std::shared_ptr<WeightSet> NewSet(tensorflow::OpKernelContext* ctx, const Key& key) const;
  absl::Status Prepare(tensorflow::OpKernelContext* ctx, const Encoder& encoder, void* stream, const ParallelFor* parallel_for,
                       WeightSet* set) const;
  bool SameWeights(const WeightSet& set, const Key& key) const;
  bool SameRanges(const WeightSet& set, const Key& key) const;
  bool Matches(const WeightSet& set, const Key& key) const;
  bool NeverUsedAgain(const WeightSet& set, const Key& key) const;
  std::shared_ptr<WeightSet> Find(const Key& key);
  std::shared_ptr<WeightSet> FindOrAdd(tensorflow::OpKernelContext* ctx, const Key& key);
  void Remove(const WeightSet* set);

  bool quantized() const { return config_.quantization != Quantization::kNone; }

  const EncoderConfig config_;
  const bool immutable_;
  const bool on_gpu_;
  std::atomic<uint64_t> clock_{0};
  std::shared_mutex mutex_;
  std::vector<std::shared_ptr<WeightSet>> sets_;
};

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_WEIGHT_CACHE_H_
