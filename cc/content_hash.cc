// Four independent accumulators, each taking in 16 bytes per step through one 64 x 64 -> 128 bit product whose halves are folded
// together (the construction of wyhash): the products overlap in the pipeline, which plain C++ runs faster than memory delivers.
#include "cc/content_hash.h"

#include <algorithm>
#include <cstring>

namespace tf_fastbert {
namespace {

constexpr size_t kStripe = 64;
constexpr size_t kPiece = size_t{1} << 20;
// Odd, with half of their bits set; without further meaning.
constexpr uint64_t kKeys[4] = {0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL, 0x8ebc6af09c88c6e3ULL, 0x589965cc75374cc3ULL};

inline uint64_t Load(const unsigned char* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

inline uint64_t Fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline void AddStripe(const unsigned char* p, uint64_t* lanes) {
  for (int i = 0; i < 4; ++i) lanes[i] = Fold(Load(p + 16 * i) ^ kKeys[i], Load(p + 16 * i + 8) ^ lanes[i]);
}

}  // namespace

uint64_t HashBytes(const void* data, size_t bytes, uint64_t seed) {
  const unsigned char* p = static_cast<const unsigned char*>(data);
  uint64_t lanes[4];
  for (int i = 0; i < 4; ++i) lanes[i] = seed ^ kKeys[i];
  size_t left = bytes;
  for (; left >= kStripe; p += kStripe, left -= kStripe) AddStripe(p, lanes);
  if (left > 0) {
    unsigned char tail[kStripe] = {};
    std::memcpy(tail, p, left);
    AddStripe(tail, lanes);
  }
  uint64_t hash = Fold(seed ^ kKeys[0], bytes ^ kKeys[1]);
  for (int i = 0; i < 4; ++i) hash = Fold(hash ^ kKeys[2], lanes[i] ^ kKeys[3]);
  return hash;
}

uint64_t HashRanges(const std::vector<std::pair<const void*, size_t>>& ranges, const ParallelFor& parallel_for) {
  std::vector<std::pair<const void*, size_t>> pieces;
  for (const auto& range : ranges) {
    for (size_t at = 0; at < range.second; at += kPiece) {
      pieces.emplace_back(static_cast<const char*>(range.first) + at, std::min(kPiece, range.second - at));
    }
  }
  std::vector<uint64_t> hashes(pieces.size());
  parallel_for(pieces.size(), [&](int64_t i) { hashes[i] = HashBytes(pieces[i].first, pieces[i].second, i); });
  return HashBytes(hashes.data(), hashes.size() * sizeof(uint64_t), ranges.size());
}

}  // namespace tf_fastbert
