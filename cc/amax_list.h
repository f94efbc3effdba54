// The ranges of quantized layers as checkpoints store them: a float32 vector `amaxList` for each layer.
#ifndef TF_FASTBERT_CC_AMAX_LIST_H_
#define TF_FASTBERT_CC_AMAX_LIST_H_

#include <cstdint>
#include <vector>

#include "cc/encoder.h"

namespace tf_fastbert {

// How many floats an amaxList has: 72 + 5 * hidden_size + inner_size + 8 + 3 + 21.
int64_t AmaxListSize(int64_t hidden_size, int64_t inner_size);

// Reads config.num_layers lists of AmaxListSize floats each. The ranges point into the lists.
// An error names the layer, the quantizer and its value if one is not finite and above 0.
Status ParseAmaxLists(const EncoderConfig& config, const float* const* lists, std::vector<LayerRanges>* ranges);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_AMAX_LIST_H_
