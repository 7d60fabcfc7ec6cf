// Where a call computes, and `exact`, on a machine without a GPU.
#include <catch2/catch_test_macros.hpp>
#include <optional>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

// Hides the GPUs of this machine from the calls.
class WithoutGpu {
 public:
  WithoutGpu() {
    if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) before_ = visible;
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
  }
  ~WithoutGpu() {
    if (before_) {
      setenv("CUDA_VISIBLE_DEVICES", before_->c_str(), 1);
    } else {
      unsetenv("CUDA_VISIBLE_DEVICES");
    }
  }
  WithoutGpu(const WithoutGpu&) = delete;

 private:
  std::optional<std::string> before_;
};

const char* const kPrompts = "{\"prompt\": \"Q: 1+2\\nA:\"}\n{\"prompt\": \"Q: 31+4\\nA:\"}\n";

std::string write_recipe(const TemporaryDirectory& dir) {
  const std::string path = dir / "r.yaml";
  spill(path, "kind: rl\nname: z\nmodel: " + random_model() +
                  "\ndata: [{task: sum}]\nrewards: [{name: random}]\nprompts_per_step: 4\n"
                  "group_size: 4\nmax_tokens: 12\nsteps: 2\nminibatches: 2\neval: {problems: 4}\n"
                  "threads: 1\n");
  return path;
}

}  // namespace

TEST_CASE("without a GPU device cuda is refused in one line, and nothing is written") {
  const WithoutGpu hidden;
  const TemporaryDirectory dir;
  const std::string train = "train " + write_recipe(dir) + " --out " + (dir / "run"),
                    sample = "sample " + random_model() + " --in -";
  const struct {
    std::string call, told;
  } cases[] = {
      {train + " device=cuda", "device cuda: this machine has 0 CUDA devices"},
      {train + " device=cuda exact=true", "device cuda: this machine has 0 CUDA devices"},
      {sample + " --device cuda", "device cuda: this machine has 0 CUDA devices"},
      {sample + " --device cuda:1 --exact", "device cuda:1: this machine has 0 CUDA devices"},
      {"bench decode --device cuda --exact", "device cuda: this machine has 0 CUDA devices"},
      {sample + " --device cuda:x", "expected auto, cpu or cuda[:N], found 'cuda:x'"},
      {sample + " --device cuda:99999999999", "expected auto, cpu or cuda[:N]"},
      {sample + " --dtype bfloat16 --exact", "dtype bfloat16: the CPU computes in float32"},
  };
  for (const auto& c : cases) {
    INFO(c.call);
    const Outcome o = run_hone(c.call, kPrompts);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(one_line(o.err));
    CHECK(o.err.find(c.told) != std::string::npos);
    CHECK(o.out.empty());
  }
  CHECK_FALSE(fs::exists(dir / "run"));
}

TEST_CASE("what a GPU alone has is refused on the CPU before anything runs") {
  const TemporaryDirectory dir;
  const std::string recipe = "recipes/quickstart.yaml ";
  for (const std::string& call :
       {"train " + recipe + "--quiet device=cpu optimizer.offload=true --out " + (dir / "run"),
        "plan " + recipe + "device=cpu optimizer.offload=true",
        std::string("bench train --offload --device cpu"),
        std::string("bench step --offload --device cpu")}) {
    const Outcome out = run_hone(call);
    INFO(call << ": " << out.err);
    CHECK(out.code == 2);
    CHECK(one_line(out.err));
    CHECK(out.err.find("optimizer.offload: expected device cuda") != std::string::npos);
  }
  for (const std::string verb : {"train", "plan"}) {
    const Outcome out = run_hone(verb + " " + recipe + "device=cpu fp8=true" +
                                 (verb == "train" ? " --out " + (dir / "run") : ""));
    INFO(out.err);
    CHECK(out.code == 2);
    CHECK(out.err.find("fp8: expected device cuda") != std::string::npos);
  }
  CHECK_FALSE(fs::exists(dir / "run"));
}

TEST_CASE("the CPU is exact whether exact is asked for or not") {
  const WithoutGpu hidden;
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  for (const char* exact : {"false", "true"}) {
    const Outcome o =
        run_hone("train " + recipe + " --quiet exact=" + exact + " --out " + (dir / exact));
    INFO(o.err);
    REQUIRE(o.code == 0);
  }
  const std::string metrics = slurp(dir / "true/metrics.jsonl");
  CHECK(metrics == slurp(dir / "false/metrics.jsonl"));
  int compared = 0;
  std::istringstream lines(metrics);
  for (std::string line; std::getline(lines, line);) {
    const Json row = Json::parse(line);
    if (!row.contains("logp_diff_max")) continue;
    CHECK(row["logp_diff_max"] == 0);
    ++compared;
  }
  CHECK(compared == 2);

  const std::string sample = "sample " + random_model() + " --in - --max-tokens 12 --n 3";
  const Outcome plain = run_hone(sample, kPrompts), asked = run_hone(sample + " --exact", kPrompts);
  REQUIRE(asked.code == 0);
  CHECK(asked.out == plain.out);
  CHECK(asked.rows().size() == plain.rows().size());
}

// With random weights: those of real models are not here.
TEST_CASE("every recipe that is shipped can be read") {
  int recipes = 0;
  for (const auto& entry : fs::directory_iterator("recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path());
    const Outcome o = run_hone("train " + entry.path().string() + " --dry-run --random-weights");
    INFO(o.err);
    CHECK(o.code == 0);
    ++recipes;
  }
  CHECK(recipes >= 12);
  CHECK(run_hone("train recipes/multiply-h200.yaml --dry-run").out.find("\nexact: true\n") !=
        std::string::npos);
}
