// What the shape of an op's sequence_length says, for shape functions.
#ifndef TF_FASTBERT_CC_LENGTHS_SHAPE_H_
#define TF_FASTBERT_CC_LENGTHS_SHAPE_H_

#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {

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

#endif  // TF_FASTBERT_CC_LENGTHS_SHAPE_H_
