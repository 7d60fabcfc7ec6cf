// hone export: a run's model, or a checkpoint, as a Hugging Face directory.
#include <ATen/ATen.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "model/transformer.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct Options {
  std::string source, out, dtype = "auto";
  OutputOptions output;
};

// What the files of `directory` hold.
at::ScalarType stored_dtype(const std::string& directory) {
  const Json config = Json::parse(read_file(directory + "/config.json"), nullptr, false);
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (config.is_object() && config.value(key, Json()) == "bfloat16") return at::kBFloat16;
  }
  return at::kFloat;
}

at::ScalarType choose_dtype(const Options& o, const std::string& directory) {
  if (o.dtype == "auto") return stored_dtype(directory);
  if (o.dtype == "float32") return at::kFloat;
  if (o.dtype == "bfloat16") return at::kBFloat16;
  throw UserError(cat("--dtype: expected auto, float32 or bfloat16, found '", o.dtype, "'"));
}

std::string model_card(const Options& o, const ModelConfig& config, at::ScalarType dtype) {
  const std::string name = fs::path(o.out).lexically_normal().filename().string();
  const std::string form = fs::exists(o.out + "/hone.json")
                               ? "\nhone.json tells how this model wants its prompts.\n"
                               : "";
  return cat("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [hone]\n---\n",
             "# ", name.empty() ? "model" : name, "\n\nTrained with hone; exported from `",
             o.source, "`.\n\n", "- architecture: ", config.family, ", ", config.parameter_count(),
             " parameters, ", config.layers, " layers, width ", config.hidden, ", ",
             config.vocab_size, " tokens\n- longest sequence: ", config.max_positions,
             " tokens\n- weights: ", dtype == at::kBFloat16 ? "bfloat16" : "float32", "\n", form,
             "\n```\nhone chat ", o.out, "\n```\n\n",
             "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n",
             "model = AutoModelForCausalLM.from_pretrained(\"", o.out, "\")\n",
             "tokenizer = AutoTokenizer.from_pretrained(\"", o.out, "\")\n```\n");
}

int run(const Options& o) {
  begin_output(o.output);
  std::error_code ec;
  const std::string directory = find_model(o.source);
  if (fs::exists(o.out, ec) && !(fs::is_directory(o.out, ec) && fs::is_empty(o.out, ec))) {
    throw UserError(cat(o.out, ": something is there already; choose another --out"));
  }
  const at::ScalarType dtype = choose_dtype(o, directory);
  const auto model = load_model(directory, ModelPlace{});
  save_model(*model, o.out, directory, dtype);
  write_file_atomic(o.out + "/README.md", model_card(o, model->config(), dtype));
  print_result(o.output, {{"out", o.out}, {"parameters", model->config().parameter_count()}});
  return 0;
}

}  // namespace

void add_export(Command& hone) {
  static Options o;
  Command& c = hone.verb("export", "a Hugging Face directory of a run's model or a checkpoint");
  c.argument("RUN_OR_CHECKPOINT", o.source, "run, checkpoint (.../step-000100) or model directory");
  c.option("--out", o.out, "directory to make", true);
  c.option("--dtype", o.dtype, "auto (as it is stored), float32 or bfloat16");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
