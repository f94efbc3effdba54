// One step of the softmax of attention's scores, kept up to date key tile by key tile, for a warp's 16 queries.
#ifndef TF_FASTBERT_CUDA_ONLINE_SOFTMAX_CUH_
#define TF_FASTBERT_CUDA_ONLINE_SOFTMAX_CUH_

#include "cuda/mma.cuh"

namespace tf_fastbert {
namespace cuda {

// s: the tile's scores [16, 8 * kKeyGroups], o: the output so far [16, 8 * kHeadGroups], both as an m16n8 product leaves them: [0] and
// [1] of a group belong to row lane / 4, [2] and [3] to the row eight further. s becomes exp2(s * scale - the row's largest score so
// far * scale); o, max and sum (this lane's part) are brought to that maximum, and sum takes s up.
template <int kKeyGroups, int kHeadGroups>
__device__ __forceinline__ void OnlineSoftmax(float scale, float (&s)[kKeyGroups][4], float (&o)[kHeadGroups][4], float (&max)[2],
                                              float (&sum)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float new_max = max[r];
#pragma unroll
    for (int n = 0; n < kKeyGroups; ++n) new_max = fmaxf(new_max, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    new_max = QuadMax(new_max);
    const float correction = Exp2((max[r] - new_max) * scale);
    max[r] = new_max;
    sum[r] *= correction;
    const float offset = new_max * scale;
#pragma unroll
    for (int n = 0; n < kKeyGroups; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        s[n][i] = Exp2(s[n][i] * scale - offset);
        sum[r] += s[n][i];
      }
    }
#pragma unroll
    for (int n = 0; n < kHeadGroups; ++n) {
      o[n][2 * r] *= correction;
      o[n][2 * r + 1] *= correction;
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ONLINE_SOFTMAX_CUH_
