#include "train/stage.h"

#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "train/trial.h"

namespace hone {

volatile std::sig_atomic_t stop_signal = 0;

std::optional<RunEnd> stop_asked(const StageContext& context) {
  if (stop_signal == SIGINT) return RunEnd::interrupted;
  if (stop_signal != 0) return RunEnd::terminated;
  const double limit = context.recipe.max_time;
  if (limit > 0 && context.run_timer.seconds() > limit) return RunEnd::out_of_time;
  return std::nullopt;
}

ModelConfig config_of_stage(const StageContext& c) {
  return stands_in(c.recipe, c.stage) ? complete_shape(c.stage.shape, "shape")
                                      : load_model_config(c.model_directory);
}

LoraShape lora_shape(const LoraOptions& o) {
  if (!o.from.empty()) return read_adapter_shape(find_path(o.from));
  return {o.rank, o.alpha.value_or(2 * static_cast<double>(o.rank)), o.targets};
}

void begin_adapters(const StageContext& c, Transformer& model) {
  const LoraOptions& o = c.stage.lora;
  if (!o.on()) return;
  if (model.device().is_cuda() && model.exact()) {
    throw UserError(
        "exact: the GPU computes adapters in an order that depends on the batch; leave exact or "
        "lora off there, or run on the CPU");
  }
  model.add_adapters(lora_shape(o));
  model.adapters()->base = c.stage.model;
  if (o.from.empty()) {
    initialize_adapters(
        model, make_key(static_cast<uint64_t>(c.recipe.seed), static_cast<uint64_t>(c.index)));
  } else {
    load_adapter(model, find_path(o.from));
  }
}

namespace {
constexpr const char* kAdapter = "/adapter";
}

void save_stage_model(const Transformer& model, const std::string& path,
                      const std::string& tokenizer_directory) {
  save_model(model, path, tokenizer_directory, at::kBFloat16);
  if (!model.adapters()) return;
  const LoraAdapters& adapters = *model.adapters();
  save_adapter(adapters.shape, adapter_tensors(model), adapters.base, path + kAdapter);
}

void publish_stage_model(const std::string& from, const std::string& directory) {
  const std::string adapter = from + kAdapter;
  if (std::filesystem::exists(adapter)) publish_directory(adapter, directory + kAdapter);
  publish_directory(from, directory + "/model");
}

void set_expert_load(MetricsRow& row, const ExpertLoad& load) {
  if (load.most == 0) return;
  row.set("experts/load_max", load.most);
  row.set("experts/load_max_layer", load.layer);
  row.set("experts/load_max_share", load.share);
  row.set("experts/load_min", load.least);
  row.set("experts/load_entropy", load.entropy);
  row.set("experts/balance", load.balance);
}

void replay_diagnosis(const StageContext& c, Diagnosis& diagnosis) {
  for_each_line(c.run_directory + "/metrics.jsonl", [&](int64_t, const std::string& line) {
    const Json row = Json::parse(line, nullptr, false);
    if (!row.is_object() || row.value("stage", "") != c.stage.name) return;
    const int64_t at = row.value("step", int64_t{0});
    if (at > 0) diagnosis.add(at, numbers_of(row));
  });
}

void diagnose(const StageContext& c, Diagnosis& diagnosis, int64_t step, const MetricsRow& row) {
  for (const Finding& f : diagnosis.add(step, numbers_of(Json::parse(metrics_line(row))))) {
    c.display.note(cat("note: ", f.meaning, "\n  -> ", f.advice));
  }
}

bool CheckpointClock::due(int64_t step) {
  const bool by_steps = options_.every_steps > 0 && step % options_.every_steps == 0;
  const bool by_time = options_.every_minutes > 0 && since_.seconds() > 60 * options_.every_minutes;
  if (by_steps || by_time) since_.restart();
  return by_steps || by_time;
}

Json sizes_json(const MetricsSizes& sizes) {
  return {{"metrics", sizes.metrics},
          {"timing", sizes.timing},
          {"events", sizes.events},
          {"experts", sizes.experts}};
}

MetricsSizes sizes_from_json(const Json& json) {
  return {json.at("metrics").get<int64_t>(), json.at("timing").get<int64_t>(),
          json.at("events").get<int64_t>(), json.value("experts", int64_t{-1})};
}

Json resume_stage(StageContext& context, Transformer& model, Optimizer& optimizer,
                  const NamedTensors& more) {
  const auto loaded = load_checkpoint(context.directory + "/checkpoints", model, optimizer, more);
  const std::string begin_path = context.directory + "/begin.json";
  Json sizes;
  if (loaded) {
    sizes = loaded->state.at("sizes");
  } else if (std::filesystem::exists(begin_path)) {
    sizes = Json::parse(read_file(begin_path));
  } else {
    write_file_atomic(begin_path, sizes_json(context.metrics.sizes()).dump() + "\n");
    return nullptr;
  }
  context.metrics = MetricsWriter();  // closes the files before they are cut
  context.metrics = MetricsWriter(context.run_directory, sizes_from_json(sizes));
  return loaded ? loaded->state : Json(nullptr);
}

}  // namespace hone
