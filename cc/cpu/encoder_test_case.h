// Random configurations with tensors, lengths and the expected output, for encoder_test.cc.
#ifndef TF_FASTBERT_CC_CPU_ENCODER_TEST_CASE_H_
#define TF_FASTBERT_CC_CPU_ENCODER_TEST_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cc/cpu/reference_encoder.h"
#include "cc/encoder.h"

namespace tf_fastbert {

struct TestCase {
  std::string name;
  EncoderConfig config;
  int batch = 1, seq_len = 1, num_tokens = 0, num_threads = 1;
  bool remove_padding = true, use_mask = false;
  std::vector<int32_t> lengths;  // [batch]
  std::vector<int32_t> mask;     // [batch, seq_len], also where use_mask is false
  std::vector<reference::Layer> layers;
  reference::Matrix input;                    // [batch, seq_len, H]
  std::vector<std::vector<char>> layer_data;  // the same weights as the encoder takes them, 16 per layer
  std::vector<char> input_data;
  // Of int8 layers, calibrated on the test's own input, and the arrays that `ranges` point to.
  std::vector<reference::Quantizers> quantizers;
  std::vector<LayerRanges> ranges;
  std::vector<std::vector<float>> kernel_amax;  // 6 per layer

  bool int8() const {
    return config.quantization == Quantization::kInt8Mode1 || config.quantization == Quantization::kInt8Mode2;
  }
};

// Anything the encoder accepts, in small sizes.
TestCase RandomCase(int seed);

// Fills lengths, mask, tensors and name from the config and sizes in `c`; weights keep activations at about unit scale.
void FillCase(int seed, TestCase* c);

// The encoder's whole output, [num_layers or 1, batch, seq_len, H]; padding is zero.
reference::Matrix ExpectedOutput(const TestCase& c);

// Element i of `data`, an array of `type`.
double ElementAt(DataType type, const char* data, size_t i);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_ENCODER_TEST_CASE_H_
