// Eight 64-bit lanes, each accumulating 32 x 32 -> 64 bit products of the data mixed with a key that depends on the position in a
// block of 1 KiB; after each block the lanes are scrambled. This is the construction of XXH3, chosen because SSE2 already has
// that product (pmuludq), so that plain C++ runs near memory speed; the keys are our own, and so is the finish.
#include "cc/content_hash.h"

#include <algorithm>
#include <cstring>

namespace tf_fastbert {
namespace {

constexpr int kLanes = 8;
constexpr size_t kStripe = kLanes * sizeof(uint64_t);
constexpr int kStripesPerBlock = 16;
constexpr size_t kPiece = size_t{1} << 20;

constexpr uint64_t Mix(uint64_t x) {  // splitmix64's finish
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

struct Keys {
  uint64_t value[kStripesPerBlock + 1][kLanes];
  constexpr Keys() : value() {
    uint64_t state = 0;
    for (auto& row : value) {
      for (auto& key : row) key = Mix(state += 0x9e3779b97f4a7c15ULL);
    }
  }
};
constexpr Keys kKeys;

inline void AddStripe(const unsigned char* data, const uint64_t* key, uint64_t* lanes) {
  uint64_t value[kLanes];
  std::memcpy(value, data, kStripe);
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t keyed = value[i] ^ key[i];
    // Adding the halves swapped keeps the input's entropy even where the product is zero.
    lanes[i] += (keyed & 0xffffffffULL) * (keyed >> 32) + ((value[i] >> 32) | (value[i] << 32));
  }
}

}  // namespace

uint64_t HashBytes(const void* data, size_t bytes, uint64_t seed) {
  uint64_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = Mix(seed + kKeys.value[kStripesPerBlock][i]);
  const unsigned char* p = static_cast<const unsigned char*>(data);
  size_t left = bytes;
  for (int stripe = 0; left >= kStripe; p += kStripe, left -= kStripe) {
    AddStripe(p, kKeys.value[stripe], lanes);
    if (++stripe == kStripesPerBlock) {
      stripe = 0;
      for (int i = 0; i < kLanes; ++i) {
        lanes[i] = (lanes[i] ^ (lanes[i] >> 47) ^ kKeys.value[kStripesPerBlock][i]) * 0x9e3779b1ULL;
      }
    }
  }
  if (left > 0) {
    unsigned char tail[kStripe] = {};
    std::memcpy(tail, p, left);
    AddStripe(tail, kKeys.value[kStripesPerBlock], lanes);
  }
  uint64_t hash = Mix(seed ^ bytes);
  for (int i = 0; i < kLanes; ++i) hash = Mix(hash ^ lanes[i]);
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
