// Runs the built program and keeps what it wrote.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "tests/temporary.h"

namespace hone {

using testing::TemporaryDirectory;

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void spill(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct Outcome {
  int code = -1;
  std::string out, err;
  std::vector<Json> rows() const {  // the lines of standard output, each JSON
    std::vector<Json> list;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) list.push_back(Json::parse(line));
    return list;
  }
};

// `arguments` as a shell reads them; `input` is standard input.
inline Outcome run_hone(const std::string& arguments, const std::string& input = "") {
  const TemporaryDirectory files;
  spill(files / "in", input);
  const std::string command = std::string(HONE_BINARY) + " " + arguments + " <" + (files / "in") +
                              " >" + (files / "out") + " 2>" + (files / "err");
  const int status = std::system(command.c_str());
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = slurp(files / "out");
  outcome.err = slurp(files / "err");
  return outcome;
}

inline bool one_line(const std::string& text) {
  return !text.empty() && text.find('\n') == text.size() - 1;
}

// A model of random weights with the tokenizer of the tiny base, made by one step of pretraining.
inline const std::string& random_model() {
  static const TemporaryDirectory directory;
  static const std::string model = [] {
    spill(directory / "random.yaml",
          "kind: pretrain\nname: random\ntokenizer: data/models/tiny-base\nsteps: 1\n"
          "batch_tokens: 512\ndata: [{task: sum}]\n"
          "shape: {hidden: 32, layers: 1, heads: 2, kv_heads: 1, head_dim: 16, intermediate: 64,"
          " max_positions: 128}\noptimizer: {lr: 0.001}\n");
    const Outcome made = run_hone("train " + (directory / "random.yaml") +
                                  " device=cpu threads=1 --quiet --out " + (directory / "run"));
    if (made.code != 0) throw std::runtime_error("no model to test with: " + made.err);
    return directory / "run/model";
  }();
  return model;
}

}  // namespace hone
