// hone export: a run's model, or a checkpoint, as a Hugging Face directory.
#include <charconv>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "model/config.h"
#include "model/load.h"
#include "model/transformer.h"
#include "train/checkpoint.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct Options {
  std::string source, out, base, dtype = "auto", max_shard_size = "5GB";
  OutputOptions output;
};

std::optional<at::ScalarType> choose_dtype(const std::string& dtype) {
  if (dtype == "auto") return std::nullopt;
  if (dtype == "float32") return at::kFloat;
  if (dtype == "bfloat16") return at::kBFloat16;
  if (dtype == "float16") return at::kHalf;
  throw UserError(cat("--dtype: expected auto, float32, bfloat16 or float16, found '", dtype, "'"));
}

// "5GB" as transformers reads it: decimal units.
int64_t read_size(const std::string& text) {
  int64_t size = 0;
  const char* end = text.data() + text.size();
  const auto [unit, failure] = std::from_chars(text.data(), end, size);
  for (const auto& [name, bytes] :
       {std::pair{"", int64_t{1}}, {"KB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}}) {
    if (failure == std::errc() && size > 0 && size <= 1'000'000'000 &&
        std::string(unit, end) == name)
      return size * bytes;
  }
  throw UserError(
      cat("--max-shard-size: expected a size such as 5GB or 500MB, found '", text, "'"));
}

// The run that a model or checkpoint directory is part of, or an earlier export's directory: the
// nearest above with a recipe and what came of it. Empty: there is none.
std::string find_run(const std::string& directory) {
  fs::path path = fs::weakly_canonical(directory);
  constexpr int kDeepest = 5;  // RUN/stages/01-zero/checkpoints/step-000100/model
  for (int i = 0; i <= kDeepest; ++i, path = path.parent_path()) {
    const bool is_run = fs::exists(path / "metrics.jsonl") || fs::exists(path / "provenance.json");
    if (is_run && fs::exists(path / "recipe.yaml")) return path.string();
  }
  return "";
}

// The base of an adapter, by name: a directory, or an earlier stage of the adapter's run.
std::string find_base(const std::string& name, const std::string& adapter) {
  std::vector<std::string> places{find_path(name)};
  std::error_code ec;
  const std::string run = find_run(adapter);
  for (const auto& entry : fs::directory_iterator(run.empty() ? "" : run + "/stages", ec)) {
    const std::string stage = entry.path().filename().string();  // 01-NAME
    if (stage.substr(stage.find('-') + 1) == name)
      places.push_back(entry.path().string() + "/model");
  }
  for (const std::string& place : places) {
    if (!name.empty() && fs::exists(place + "/config.json", ec)) return place;
  }
  throw UserError(cat(adapter, ": its base model '", name,
                      "' is no directory here; say by --base DIR where it is"));
}

// The adapter merged into its base, in `directory`. Returns the base's directory.
std::string merge_adapter(const Options& o, const std::string& adapter,
                          const std::string& directory, std::optional<at::ScalarType> dtype,
                          int64_t shard_bytes) {
  const std::string base = find_base(o.base.empty() ? base_of_adapter(adapter) : o.base, adapter);
  const auto model = load_model(base, {});
  model->add_adapters(read_adapter_shape(adapter), /*trainable=*/false);
  load_adapter(*model, adapter);
  const SafetensorsDirectory files(base);
  const auto& [tensor, file] = *files.tensors().begin();
  save_model(*model, directory, base, dtype.value_or(file->tensor(tensor).scalar_type()),
             shard_bytes);
  return base;
}

// What the model was made from, as far as it is known here.
Json provenance(const Options& o, const std::string& source, const std::string& exported,
                const std::string& run) {
  Json j = {{"exported_from", o.source},
            {"program_sha256", sha256_file("/proc/self/exe")},
            {"source_weights_sha256", weight_hashes(source)},
            {"weights_sha256", weight_hashes(exported)}};
  if (run.empty()) return j;
  j["recipe_sha256"] = sha256_file(run + "/recipe.yaml");
  if (fs::exists(run + "/provenance.json")) {  // written when a run is finished
    j["run"] = Json::parse(read_file(run + "/provenance.json"), nullptr, false);
    if (j["run"].is_discarded()) throw UserError(cat(run, "/provenance.json: not valid JSON"));
  }
  return j;
}

std::string model_card(const Options& o, const ModelConfig& config, const std::string& exported,
                       const Json& provenance) {
  const std::string name = fs::absolute(o.out).lexically_normal().filename().string();
  const Json written = Json::parse(read_file(exported + "/config.json"));
  const Json dtype = written.value("dtype", written.value("torch_dtype", Json()));
  std::string more;
  if (fs::exists(exported + "/recipe.yaml")) {
    more += "- recipe.yaml: the recipe that it was trained by, with every default filled in\n";
  }
  more += "- provenance.json: SHA-256 of these weights and of what they were made from\n";
  if (fs::exists(exported + "/hone.json")) {
    more += "- hone.json: how this model wants its prompts\n";
  }
  if (provenance.contains("run") && provenance["run"].contains("models")) {
    for (const auto& [base, hashes] : provenance["run"]["models"].items()) {
      more += cat("- trained from: ", base, "\n");
    }
  }
  return cat("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [hone]\n---\n",
             "# ", name.empty() ? "model" : name, "\n\nTrained with hone; exported from `",
             o.source, "`.\n\n", "- architecture: ", config.family, ", ", config.parameter_count(),
             " parameters, ", config.layers, " layers, width ", config.hidden, ", ",
             config.vocab_size, " tokens\n- longest sequence: ", config.max_positions,
             " tokens\n- weights: ", dtype.is_string() ? dtype.get<std::string>() : "float32", "\n",
             more, "\n```\nhone chat ", o.out, "\n```\n\n",
             "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n",
             "model = AutoModelForCausalLM.from_pretrained(\"", o.out, "\")\n",
             "tokenizer = AutoTokenizer.from_pretrained(\"", o.out, "\")\n```\n");
}

int run(const Options& o) {
  begin_output(o.output);
  const std::optional<at::ScalarType> dtype = choose_dtype(o.dtype);
  const int64_t shard_bytes = read_size(o.max_shard_size);
  const std::string adapter = find_adapter(find_path(o.source));
  const std::string source = adapter.empty() ? find_model(o.source) : adapter;
  if (adapter.empty() && !o.base.empty()) {
    throw UserError(cat("--base: expected a LoRA adapter to merge, found the model ", o.source));
  }
  std::error_code ec;
  if (fs::exists(o.out, ec) && !(fs::is_directory(o.out, ec) && fs::is_empty(o.out, ec))) {
    throw UserError(cat(o.out, ": something is there already; choose another --out"));
  }
  const std::string target = (fs::absolute(o.out).lexically_normal() / "").parent_path().string();
  const std::string temporary = target + ".tmp";
  if (fs::exists(temporary, ec)) {
    throw UserError(cat(temporary, ": left by an export that was cut off? Remove it first"));
  }
  std::string shape_from = source;
  if (adapter.empty()) {
    copy_model(source, temporary, dtype, shard_bytes);
  } else {
    shape_from = merge_adapter(o, adapter, temporary, dtype, shard_bytes);
  }
  const ModelConfig config = load_model_config(shape_from);
  try {
    const std::string run = find_run(source);
    if (!run.empty()) {
      write_file_atomic(temporary + "/recipe.yaml", read_file(run + "/recipe.yaml"));
    }
    const Json made_from = provenance(o, source, temporary, run);
    write_file_atomic(temporary + "/provenance.json", made_from.dump(2) + "\n");
    write_file_atomic(temporary + "/README.md", model_card(o, config, temporary, made_from));
    publish_directory(temporary, target);
  } catch (...) {
    fs::remove_all(temporary, ec);
    throw;
  }
  print_result(o.output, {{"out", o.out}, {"parameters", config.parameter_count()}});
  return 0;
}

}  // namespace

void add_export(Command& hone) {
  static Options o;
  Command& c = hone.verb("export", "a Hugging Face directory of a run's model or a checkpoint");
  c.argument("RUN_OR_CHECKPOINT", o.source,
             "run, checkpoint (.../step-000100), model or PEFT adapter directory");
  c.option("--out", o.out, "directory to make", true);
  c.option("--base", o.base, "model that an adapter is merged into; default: the one it names");
  c.option("--dtype", o.dtype, "auto (as it is stored), float32, bfloat16 or float16");
  c.option("--max-shard-size", o.max_shard_size, "largest file of weights, e.g. 5GB or 500MB");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
