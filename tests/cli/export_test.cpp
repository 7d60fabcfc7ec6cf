// hone export, and that what hone writes loads in transformers.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

constexpr const char* kTinyBase = "data/models/tiny-base";

// Loads each directory without flags and compares with the first, tensor by tensor as float32.
constexpr const char* kLoad = R"(
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
first = None
for directory in sys.argv[1:]:
    model, info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    bad = {key: value for key, value in info.items() if value}
    assert not bad, (directory, bad)
    tensors = {name: t.float() for name, t in model.state_dict().items()}
    ids = AutoTokenizer.from_pretrained(directory)("Q: 12+34\nA:").input_ids
    first = first or (tensors, ids)
    assert ids == first[1], (directory, ids)
    assert tensors.keys() == first[0].keys(), directory
    for name, t in tensors.items():
        assert torch.equal(t, first[0][name]), (directory, name)
)";

}  // namespace

TEST_CASE("an export of what is unchanged is the same weights and configs, byte for byte") {
  const TemporaryDirectory dir;
  const std::string out = dir / "exported";
  REQUIRE(run_hone(std::string("export ") + kTinyBase + " --out " + out).code == 0);
  for (const char* name : {"model.safetensors", "tokenizer.json", "tokenizer.model"}) {
    INFO(name);
    CHECK(slurp(out + "/" + name) == slurp(std::string(kTinyBase) + "/" + name));
  }
  for (const char* name : {"config.json", "generation_config.json"}) {
    INFO(name);
    CHECK(Json::parse(slurp(out + "/" + name)) ==
          Json::parse(slurp(std::string(kTinyBase) + "/" + name)));
  }
  const Json provenance = Json::parse(slurp(out + "/provenance.json"));
  CHECK(provenance["weights_sha256"] == provenance["source_weights_sha256"]);
  CHECK(slurp(out + "/README.md").find("AutoModelForCausalLM") != std::string::npos);
  CHECK_FALSE(fs::exists(out + ".tmp"));
}

TEST_CASE("an export of a run says what the run was made from") {
  const TemporaryDirectory dir;
  const std::string out = dir / "exported", run = fs::path(random_model()).parent_path().string();
  REQUIRE(run_hone("export " + run + " --out " + out).code == 0);
  const Json provenance = Json::parse(slurp(out + "/provenance.json"));
  CHECK(provenance["run"] == Json::parse(slurp(run + "/provenance.json")));
  CHECK(slurp(out + "/recipe.yaml") == slurp(run + "/recipe.yaml"));
}

TEST_CASE("an export is split where it is asked, and samples alike") {
  const TemporaryDirectory dir;
  const std::string out = dir / "exported";
  const Outcome made = run_hone(std::string("export ") + kTinyBase + " --out " + out +
                                " --dtype float32 --max-shard-size 2MB");
  REQUIRE(made.code == 0);
  CHECK(fs::exists(out + "/model.safetensors.index.json"));
  CHECK_FALSE(fs::exists(out + "/model.safetensors"));
  const std::string row = "{\"prompt\": \"Q: 12+34\\nA:\"}\n";
  const std::string options = " --in - --device cpu --temperature 0 --max-tokens 16";
  CHECK(run_hone("sample " + out + options, row).out ==
        run_hone(std::string("sample ") + kTinyBase + options, row).out);
}

TEST_CASE("an export that cannot be made is one line and leaves nothing") {
  const TemporaryDirectory dir;
  const std::string out = dir / "exported", call = std::string("export ") + kTinyBase + " --out ";
  for (const std::string& options :
       {std::string(" --dtype int8"), std::string(" --max-shard-size 5XB"),
        std::string(" --max-shard-size -1"), std::string(" --max-shard-size 0")}) {
    const Outcome o = run_hone(call + out + options);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(one_line(o.err));
  }
  fs::copy(random_model(), dir / "m", fs::copy_options::recursive);
  fs::resize_file(dir / "m/model.safetensors", 1000);
  CHECK(run_hone("export " + (dir / "m") + " --out " + out).code == 2);
  CHECK_FALSE(fs::exists(out));
  CHECK_FALSE(fs::exists(out + ".tmp"));
}

TEST_CASE("what a run and export write loads in transformers without flags") {
  const char* set = std::getenv("HONE_TEST_PYTHON");
  const std::string python = set ? set : "python3";
  if (std::system((python + " -c 'import torch, transformers' >/dev/null 2>&1").c_str()) != 0) {
    SKIP("no Python with transformers; HONE_TEST_PYTHON may name one");
  }
  const TemporaryDirectory dir;
  spill(dir / "load.py", kLoad);
  const auto loads = [&](const std::string& directories) {
    const std::string call = "HF_HUB_OFFLINE=1 " + python + " " + (dir / "load.py") + " " +
                             directories + " >" + (dir / "log") + " 2>&1";
    const int status = std::system(call.c_str());
    INFO(slurp(dir / "log"));
    CHECK(status == 0);
  };
  const std::string call = std::string("export ") + kTinyBase + " --out ";
  REQUIRE(run_hone(call + (dir / "same")).code == 0);
  REQUIRE(run_hone(call + (dir / "split") + " --dtype float32 --max-shard-size 1MB").code == 0);
  loads(std::string(kTinyBase) + " " + (dir / "same") + " " + (dir / "split"));
  const std::string run = fs::path(random_model()).parent_path().string();
  std::string checkpoint;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    if (entry.path().filename().string().starts_with("step-") && entry.is_directory()) {
      checkpoint = entry.path().string();
    }
  }
  REQUIRE_FALSE(checkpoint.empty());
  loads(checkpoint + "/model");
  loads(random_model());
}
