// Chooses the implementation; see product.h.
#include "cc/cpu/product.h"

#include "cc/cpu/onednn_product.h"
#include "cc/cpu/tile_product.h"

namespace tf_fastbert {
namespace cpu {

Status CreateProduct(const ProductShape& shape, std::unique_ptr<Product>* product) {
  if (!shape.in.tiles) return OneDnnProduct::Create(shape, product);
  *product = std::make_unique<TileProduct>(shape);
  return Status::Ok();
}

}  // namespace cpu
}  // namespace tf_fastbert
