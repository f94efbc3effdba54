// What shape functions share.
#ifndef TF_FASTBERT_CC_SHAPE_CHECKS_H_
#define TF_FASTBERT_CC_SHAPE_CHECKS_H_

#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {

inline absl::Status WrongShape(tensorflow::shape_inference::InferenceContext* c, const char* op, const char* input,
                               tensorflow::shape_inference::ShapeHandle shape, const std::string& expected) {
  return absl::InvalidArgumentError(std::string(op) + ": " + input + " has shape " + c->DebugString(shape) + ", expected " +
                                    expected);
}

// Merges lengths [batch], or a mask [batch, seq_len], into the first dimensions of *shape, [batch, seq_len, ...]. False: they do
// not fit.
inline bool MergeLengths(tensorflow::shape_inference::InferenceContext* c, tensorflow::shape_inference::ShapeHandle lengths,
                         tensorflow::shape_inference::ShapeHandle* shape) {
  if (!c->RankKnown(lengths)) return true;
  const int rank = c->Rank(lengths);
  if (rank != 1 && rank != 2) return false;
  for (int i = 0; i < rank; ++i) {
    tensorflow::shape_inference::DimensionHandle dim;
    if (!c->Merge(c->Dim(lengths, i), c->Dim(*shape, i), &dim).ok() || !c->ReplaceDim(*shape, i, dim, shape).ok()) return false;
  }
  return true;
}

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_SHAPE_CHECKS_H_
