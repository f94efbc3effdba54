// A fast 64-bit hash of memory, to notice that weights were overwritten in place. Not cryptographic.
#ifndef TF_FASTBERT_CC_CONTENT_HASH_H_
#define TF_FASTBERT_CC_CONTENT_HASH_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "cc/encoder.h"

namespace tf_fastbert {

uint64_t HashBytes(const void* data, size_t bytes, uint64_t seed);

// Hash of all ranges (pointer, bytes), in order, computed in pieces on parallel_for.
uint64_t HashRanges(const std::vector<std::pair<const void*, size_t>>& ranges, const ParallelFor& parallel_for);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CONTENT_HASH_H_
