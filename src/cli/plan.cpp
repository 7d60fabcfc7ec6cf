// hone plan: what a recipe will need, before anything is allocated.
#include "train/plan.h"

#include <ATen/Context.h>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "engine/free_memory.h"
#include "train/run.h"

namespace hone {
namespace {

struct Options {
  std::string recipe;
  std::vector<std::string> overrides;
  double memory = 0;
  OutputOptions output;
};

int plan(const Options& o) {
  begin_output(o.output);
  if (o.memory < 0) throw UserError(cat("--memory: expected GiB above 0, found ", o.memory));
  const Recipe recipe = read_recipe(find_path(o.recipe), o.overrides);
  // A plan is for the device that the recipe asks for, also where this machine has none.
  const bool cpu = recipe.device == "cpu" || (recipe.device == "auto" && !at::hasCUDA());
  if (cpu) check_for_cpu(recipe);
  const Precision precision{cpu || recipe.dtype == "float32" ? 4 : 2, recipe.fp8};
  int64_t available = static_cast<int64_t>(o.memory * (1 << 30));
  if (available == 0 && cpu) available = free_memory(at::kCPU);
  if (available == 0 && at::hasCUDA()) {
    available = free_memory(choose_place(recipe.device, recipe.dtype, true).device);
  }
  Json stages = Json::array();
  int64_t least = 0;
  std::vector<std::pair<StageOptions, ModelConfig>> planned;
  for (StageOptions stage : recipe.stages) {
    const ModelConfig shape = planned_shape(recipe, stage);
    if (!cpu && available > 0) {
      stage.recompute = decide_recompute(stage, shape, precision, available);
    }
    const StagePlan p = plan_stage(stage, shape, precision);
    print_line(plan_text(p));
    stages.push_back(plan_json(p));
    least = std::max(least, p.least);
    planned.emplace_back(stage, shape);
  }
  const bool fits = available == 0 || least <= available;
  print_result(
      o.output,
      {{"stages", stages}, {"least_bytes", least}, {"available_bytes", available}, {"fits", fits}});
  if (available == 0) return 0;
  for (const auto& [stage, shape] : planned) require_fit(stage, shape, precision, available);
  return 0;
}

}  // namespace

void add_plan(Command& hone) {
  static Options o;
  Command& c = hone.verb("plan", "parameters and memory that a recipe will need");
  c.argument("RECIPE", o.recipe, "recipe file");
  c.arguments("overrides", o.overrides, "overrides, e.g. group_size=4", false);
  c.option("--memory", o.memory, "GiB of the device; default: what is free on this machine's");
  add_output_options(c, o.output);
  c.action([] { return plan(o); });
}

}  // namespace hone
