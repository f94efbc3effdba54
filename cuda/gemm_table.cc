#include "cuda/gemm_table.h"

#include <cinttypes>
#include <cstdio>
#include <mutex>
#include <sstream>
#include <utility>

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr char kHeader[] = "tf_fastbert gemm table 1";

struct Table {
  std::string gpu;
  uint64_t cublaslt_version = 0;
  std::vector<GemmTableEntry> entries;
};

std::mutex tables_mutex;
std::vector<Table>* tables = nullptr;  // never freed: encoders may outlive static destructors

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

bool ParseEntry(std::istream& in, GemmTableEntry* e) {
  in >> e->n >> e->k >> e->type >> e->compute >> e->epilogue >> e->last_row >> std::hex;
  for (uint64_t& word : e->algorithm.data) in >> word;
  std::string rest;
  return !in.fail() && !(in >> rest) && e->n > 0 && e->k > 0 && e->last_row > 0 && e->last_row <= (int64_t{1} << 27);
}

// Takes one table off `in`. `line_number` counts from 1 through all tables.
Status ParseTable(std::istream& in, int* line_number, Table* table) {
  std::string line, body;
  const auto wrong = [&](const std::string& expected) {
    return Status::InvalidArgument("the GEMM table's line " + std::to_string(*line_number) + " is not " + expected +
                                   "; make the file anew with tools/gemm_tune.py");
  };
  const auto next = [&] {
    ++*line_number;
    return static_cast<bool>(std::getline(in, line));
  };
  if (!next() || line != kHeader) return wrong(std::string("\"") + kHeader + "\"");
  body += line + "\n";
  if (!next() || line.rfind("gpu ", 0) != 0) return wrong("\"gpu NAME\"");
  table->gpu = line.substr(4);
  body += line + "\n";
  if (!next() || std::sscanf(line.c_str(), "cublaslt %" SCNu64, &table->cublaslt_version) != 1) return wrong("\"cublaslt VERSION\"");
  body += line + "\n";
  while (next()) {
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    if (kind == "end") {
      uint64_t count = 0, sum = 0;
      words >> count >> std::hex >> sum;
      if (words.fail() || count != table->entries.size() || sum != Fnv1a(body)) {
        return wrong("the end of what stands before it (the file was changed or cut)");
      }
      return Status::Ok();
    }
    GemmTableEntry entry;
    if (kind != "gemm" || !ParseEntry(words, &entry)) return wrong("a \"gemm\" line");
    table->entries.push_back(entry);
    body += line + "\n";
  }
  return wrong("\"end COUNT SUM\" (the file is cut)");
}

}  // namespace

Status LoadGemmTable(const std::string& text) {
  std::istringstream in(text);
  std::vector<Table> parsed;
  int line_number = 0;
  do {
    parsed.emplace_back();
    FASTBERT_RETURN_IF_ERROR(ParseTable(in, &line_number, &parsed.back()));
  } while (in.peek() != std::istringstream::traits_type::eof());
  std::lock_guard<std::mutex> lock(tables_mutex);
  if (tables == nullptr) tables = new std::vector<Table>;
  for (Table& table : parsed) tables->push_back(std::move(table));
  return Status::Ok();
}

std::vector<GemmTableEntry> FindGemmTable(const std::string& gpu, uint64_t cublaslt_version) {
  std::vector<GemmTableEntry> found;
  std::lock_guard<std::mutex> lock(tables_mutex);
  if (tables == nullptr) return found;
  for (const Table& table : *tables) {
    if (table.gpu != gpu || table.cublaslt_version != cublaslt_version) continue;
    found.insert(found.end(), table.entries.begin(), table.entries.end());
  }
  return found;
}

std::string FormatGemmTable(const std::string& gpu, uint64_t cublaslt_version, const std::vector<GemmTableEntry>& entries) {
  std::ostringstream out;
  out << kHeader << "\ngpu " << gpu << "\ncublaslt " << cublaslt_version << "\n";
  for (const GemmTableEntry& e : entries) {
    out << std::dec << "gemm " << e.n << " " << e.k << " " << e.type << " " << e.compute << " " << e.epilogue << " " << e.last_row
        << std::hex;
    for (uint64_t word : e.algorithm.data) out << " " << word;
    out << "\n";
  }
  const uint64_t sum = Fnv1a(out.str());
  out << std::dec << "end " << entries.size() << " " << std::hex << sum << "\n";
  return out.str();
}

}  // namespace cuda
}  // namespace tf_fastbert
