// What `python -m tf_fastbert` says of this CPU, from the very functions that choose the kernels.
#include <string>

#include "cc/cpu/amx.h"
#include "cc/cpu/kernels.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/policy.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace {

const char* Name(cpu::Isa isa) {
  switch (isa) {
    case cpu::Isa::kAvx512: return "AVX-512";
    case cpu::Isa::kAvx2: return "AVX2";
    case cpu::Isa::kBaseline: break;
  }
  return "no vector instructions of their own";
}

std::string Products(const cpu::OperandFormat& operand) {
  const char* how = !operand.tiles ? "oneDNN" : cpu::HasAmx() ? "AMX" : "AVX-512";
  switch (operand.type) {
    case cpu::OperandType::kFloat32: return std::string("float32 (") + how + ")";
    case cpu::OperandType::kBFloat16: return std::string("bfloat16 (") + how + ")";
    case cpu::OperandType::kInt8: return std::string("int8 (") + how + ")";
    case cpu::OperandType::kBFloat16x2: return std::string("2 bfloat16 planes (") + how + ")";
    case cpu::OperandType::kBFloat16x3: return std::string("3 bfloat16 planes (") + how + ")";
  }
  return "";
}

std::string Entry(const char* name, DataType dtype, Precision precision, Quantization quantization) {
  EncoderConfig config;  // BERT-base; other sizes get other kernels only where they are odd
  config.num_layers = 12;
  config.num_heads = 12;
  config.size_per_head = 64;
  config.hidden_size = 768;
  config.inner_size = 3072;
  config.dtype = dtype;
  config.precision = precision;
  config.quantization = quantization;
  const cpu::Policy policy = cpu::ChoosePolicy(config);
  return std::string("\"") + name + "\": {\"products\": \"" + Products(policy.operand) + "\", \"attention\": \"" +
         (policy.attention == DataType::kBFloat16 ? "bfloat16" : "float32") + "\"}";
}

}  // namespace

std::string DescribeCpuEncoder() {
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  std::string text = "{\"vectors\": \"" + std::string(Name(cpu::BestKernels().isa)) + "\"";
  text += ", \"amx\": " + std::string(boolean(cpu::HasAmx()));
  text += ", \"bfloat16\": " + std::string(boolean(cpu::HasFastBFloat16()));
  text += ", \"int8\": " + std::string(boolean(cpu::HasFastInt8())) + ", \"types\": {";
  text += Entry("float32", DataType::kFloat32, Precision::kFull, Quantization::kNone) + ", ";
  text += Entry("float32 as tf32", DataType::kFloat32, Precision::kTf32, Quantization::kNone) + ", ";
  text += Entry("float16", DataType::kFloat16, Precision::kFull, Quantization::kNone) + ", ";
  text += Entry("bfloat16", DataType::kBFloat16, Precision::kFull, Quantization::kNone) + ", ";
  text += Entry("int8 modes", DataType::kFloat32, Precision::kFull, Quantization::kInt8Mode1);
  return text + "}}";
}

}  // namespace tf_fastbert
