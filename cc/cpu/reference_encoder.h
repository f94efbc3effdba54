// A BERT encoder in double, as plain as it can be, for encoder_test.cc. Shares nothing with the encoder but the config. With
// Quantizers it also calibrates int8 layers, and computes what they should give.
#ifndef TF_FASTBERT_CC_CPU_REFERENCE_ENCODER_H_
#define TF_FASTBERT_CC_CPU_REFERENCE_ENCODER_H_

#include <cmath>
#include <utility>
#include <vector>

#include "cc/encoder.h"

namespace tf_fastbert {
namespace reference {

using Matrix = std::vector<double>;  // row-major

// Weights of one layer, in the order of struct LayerWeights.
using Layer = std::vector<Matrix>;

inline Matrix Dense(const Matrix& x, int rows, const Matrix& kernel, const Matrix& bias) {
  const int n = static_cast<int>(bias.size()), k = static_cast<int>(kernel.size()) / n;
  Matrix out(static_cast<size_t>(rows) * n);
  for (int r = 0; r < rows; ++r) {
    double* row = &out[static_cast<size_t>(r) * n];
    for (int j = 0; j < n; ++j) row[j] = bias[j];
    for (int i = 0; i < k; ++i) {
      const double value = x[static_cast<size_t>(r) * k + i];
      for (int j = 0; j < n; ++j) row[j] += value * kernel[static_cast<size_t>(i) * n + j];
    }
  }
  return out;
}

inline Matrix LayerNorm(const Matrix& x, int rows, const Matrix& gamma, const Matrix& beta, double epsilon) {
  const int width = static_cast<int>(gamma.size());
  Matrix out(x.size());
  for (int r = 0; r < rows; ++r) {
    const double* row = &x[static_cast<size_t>(r) * width];
    double mean = 0, variance = 0;
    for (int i = 0; i < width; ++i) mean += row[i] / width;
    for (int i = 0; i < width; ++i) variance += (row[i] - mean) * (row[i] - mean) / width;
    for (int i = 0; i < width; ++i) {
      out[static_cast<size_t>(r) * width + i] = (row[i] - mean) / std::sqrt(variance + epsilon) * gamma[i] + beta[i];
    }
  }
  return out;
}

inline double Activate(double x, Activation activation) {
  switch (activation) {
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::kGeluErf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    default:
      return x > 0 ? x : 0;
  }
}

// One head: q, k, v and out are [rows, hidden], columns [first, first + depth).
inline void Attend(const Matrix& q, const Matrix& k, const Matrix& v, int rows, int hidden, int first, int depth, Matrix* out) {
  std::vector<double> scores(rows);
  for (int i = 0; i < rows; ++i) {
    double max = -INFINITY, sum = 0;
    for (int j = 0; j < rows; ++j) {
      scores[j] = 0;
      for (int d = first; d < first + depth; ++d) scores[j] += q[i * hidden + d] * k[j * hidden + d];
      scores[j] /= std::sqrt(static_cast<double>(depth));
      max = std::fmax(max, scores[j]);
    }
    for (double& score : scores) sum += score = std::exp(score - max);
    for (int d = first; d < first + depth; ++d) {
      double value = 0;
      for (int j = 0; j < rows; ++j) value += scores[j] * v[j * hidden + d];
      (*out)[i * hidden + d] = value / sum;
    }
  }
}

// Of one layer: the largest absolute values of its four products' inputs (see LayerRanges).
struct Quantizers {
  double attention_input = 0, context = 0, intermediate_input = 0, output_input = 0;
};

inline void Observe(const Matrix& x, double* amax) {
  for (double value : x) *amax = std::fmax(*amax, std::fabs(value));
}

// The values that int8 represents: clamp(round(x * 127 / amax), -127, 127) * amax / 127.
inline Matrix Quantize(Matrix x, double amax) {
  for (double& value : x) value = std::fmin(std::fmax(std::nearbyint(value * 127 / amax), -127), 127) * amax / 127;
  return x;
}

// x [rows, hidden], one sequence's valid tokens -> every layer's output. With `observed` [layers], which then grow, or with
// `quantizers` [layers], which are applied to the products' inputs.
inline std::vector<Matrix> Encode(const EncoderConfig& config, const std::vector<Layer>& layers, Matrix x, int rows,
                                  std::vector<Quantizers>* observed = nullptr,
                                  const std::vector<Quantizers>* quantizers = nullptr) {
  const bool pre = config.layer_norm == LayerNormPlacement::kPre;
  const int hidden = config.hidden_size;
  const auto add = [](Matrix a, const Matrix& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  };
  std::vector<Matrix> outputs;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const Layer& w = layers[layer];
    const auto input = [&](Matrix m, double Quantizers::*which) {
      if (observed != nullptr) Observe(m, &((*observed)[layer].*which));
      return quantizers == nullptr ? m : Quantize(std::move(m), (*quantizers)[layer].*which);
    };
    const auto attention_norm = [&](const Matrix& m) { return LayerNorm(m, rows, w[8], w[9], config.epsilon); };
    const auto output_norm = [&](const Matrix& m) { return LayerNorm(m, rows, w[14], w[15], config.epsilon); };
    const Matrix in = input(pre ? attention_norm(x) : x, &Quantizers::attention_input);
    const Matrix q = Dense(in, rows, w[0], w[1]), k = Dense(in, rows, w[2], w[3]), v = Dense(in, rows, w[4], w[5]);
    Matrix context(x.size());
    for (int head = 0; head < config.num_heads; ++head) {
      Attend(q, k, v, rows, hidden, head * config.size_per_head, config.size_per_head, &context);
    }
    x = add(Dense(input(context, &Quantizers::context), rows, w[6], w[7]), x);
    if (!pre) x = attention_norm(x);
    Matrix inner = Dense(input(pre ? output_norm(x) : x, &Quantizers::intermediate_input), rows, w[10], w[11]);
    for (double& value : inner) value = Activate(value, config.activation);
    x = add(Dense(input(inner, &Quantizers::output_input), rows, w[12], w[13]), x);
    if (!pre) x = output_norm(x);
    outputs.push_back(x);
  }
  return outputs;
}

}  // namespace reference
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_REFERENCE_ENCODER_H_
