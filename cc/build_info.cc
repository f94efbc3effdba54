// What this library was built for, as JSON.
//
// tf_fastbert/ops.py reads it from the file, before it loads the library: a library built for another minor version of TensorFlow
// cannot be loaded at all, and the loader's own message (a mangled undefined symbol) does not say why. Hence the marker in front.
#include "cc/version.h"
#if __has_include("oneapi/dnnl/dnnl_version.h")
#include "oneapi/dnnl/dnnl_version.h"
#endif

#ifndef TF_FASTBERT_TF_VERSION_STRING
#error "TF_FASTBERT_TF_VERSION_STRING must be the version of TensorFlow this is built for, for example \"2.21.0\""
#endif

#define TF_FASTBERT_TEXT_(...) #__VA_ARGS__
#define TF_FASTBERT_TEXT(...) TF_FASTBERT_TEXT_(__VA_ARGS__)

#ifdef TF_FASTBERT_CUDA
#define TF_FASTBERT_CUDA_TEXT "true"
#else
#define TF_FASTBERT_CUDA_TEXT "false"
#endif

#ifndef TF_FASTBERT_CUDA_ARCHS
#define TF_FASTBERT_CUDA_ARCHS ""
#endif

#ifdef DNNL_VERSION_MAJOR
#define TF_FASTBERT_ONEDNN_TEXT \
  TF_FASTBERT_TEXT(DNNL_VERSION_MAJOR) "." TF_FASTBERT_TEXT(DNNL_VERSION_MINOR) "." TF_FASTBERT_TEXT(DNNL_VERSION_PATCH)
#else
#define TF_FASTBERT_ONEDNN_TEXT ""
#endif

namespace {

constexpr char kMarker[] = "tf_fastbert_build_info=";

// clang-format off
constexpr char kInfo[] =
    "tf_fastbert_build_info={\"version\": \"" TF_FASTBERT_TEXT(TF_FASTBERT_VERSION)
    "\", \"tensorflow\": \"" TF_FASTBERT_TF_VERSION_STRING
    "\", \"cuda\": " TF_FASTBERT_CUDA_TEXT
    ", \"cuda_archs\": \"" TF_FASTBERT_CUDA_ARCHS
    "\", \"onednn\": \"" TF_FASTBERT_ONEDNN_TEXT "\"}";
// clang-format on

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* tf_fastbert_build_info() { return kInfo + sizeof(kMarker) - 1; }
