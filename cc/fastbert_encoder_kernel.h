// The OpKernel of FastBertEncoder and FastBertQuantizedEncoder, the same for both devices: it checks the inputs, finds the
// prepared weights, takes memory from TensorFlow, and calls the backend. The two ops differ in EncoderConfig::quantization and in
// the input amax_list alone.
#ifndef TF_FASTBERT_CC_FASTBERT_ENCODER_KERNEL_H_
#define TF_FASTBERT_CC_FASTBERT_ENCODER_KERNEL_H_

#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "cc/encoder.h"
#include "cc/weight_cache.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

class FastBertEncoderKernel : public tensorflow::OpKernel {
 public:
  FastBertEncoderKernel(tensorflow::OpKernelConstruction* ctx, bool on_gpu);

  // Any number of threads may be in here at once; none waits for another but for the first preparation of the same weights.
  void Compute(tensorflow::OpKernelContext* ctx) override;

 private:
  // The backend for one inner size, which is known only from the weights. There is more than one where eager execution lets
  // models share the kernel.
  struct Model {
    Model(const EncoderConfig& config, bool immutable, bool on_gpu) : config(config), weights(config, immutable, on_gpu) {}
    const EncoderConfig config;
    std::unique_ptr<Encoder> encoder;
    WeightCache weights;
  };
  using Layers = absl::InlinedVector<LayerWeights, 24>;
  using AmaxLists = absl::InlinedVector<const float*, 24>;  // empty without quantization

  absl::Status Run(tensorflow::OpKernelContext* ctx);
  absl::Status CheckHiddenStates(const tensorflow::Tensor& hidden_states) const;
  absl::Status ReadWeights(tensorflow::OpKernelContext* ctx, Layers* layers, int* inner_size) const;
  absl::Status ReadAmaxLists(tensorflow::OpKernelContext* ctx, int inner_size, AmaxLists* lists) const;
  absl::Status FindModel(int inner_size, Model** model);

  const bool on_gpu_;
  EncoderConfig config_;            // without the inner size
  bool follow_tensorflow_ = false;  // precision: TF32 where TensorFlow's own matrix products use it
  bool remove_padding_ = true;
  bool immutable_weights_ = false;

  std::shared_mutex models_mutex_;
  std::vector<std::unique_ptr<Model>> models_;
};

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_FASTBERT_ENCODER_KERNEL_H_
