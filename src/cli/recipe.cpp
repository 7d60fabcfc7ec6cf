// hone recipe: recipes resolved, their keys, the objective's presets.
#include "train/recipe.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "train/foreign_config.h"

namespace hone {
namespace {

struct Options {
  std::string recipe, out = "-";
  std::vector<std::string> overrides;
  OutputOptions output;
};

// A preset with what it sets of the stage around it.
Json expanded_preset(const std::string& name) {
  StageOptions stage;
  stage.objective = preset_options(name);
  const Json before = OptionWriter::write(stage);
  apply_stage_preset(stage);
  const Json after = OptionWriter::write(stage);
  Json expanded = Json::object();
  for (const auto& [key, value] : after.items()) {
    if (key == "objective" || value != before[key]) expanded[key] = value;
  }
  return expanded;
}

int show(const Options& o) {
  begin_output(o.output);
  for (const Preset& p : presets()) {
    if (p.name != o.recipe) continue;
    const Json expanded = expanded_preset(p.name);
    print_line(cat("# ", p.name, " (", p.paper, "): ", p.meaning));
    print_line(yaml_text(expanded));
    print_result(o.output, expanded);
    return 0;
  }
  const Recipe recipe = read_recipe(find_path(o.recipe), o.overrides);
  std::string text = recipe_text(recipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  print_line(text);
  print_result(o.output, OptionWriter::write(recipe));
  return 0;
}

int translate(const Options& o,
              std::string (*recipe_from)(const std::string&, const std::string&)) {
  begin_output(o.output);
  const std::string path = find_path(o.recipe);
  std::string text = recipe_from(read_file(path), o.recipe);
  if (o.out == "-") {
    if (!text.empty()) text.pop_back();
    print_line(text);
  } else {
    write_file_atomic(o.out, text);
  }
  return 0;
}

int keys(const Options& o) {
  begin_output(o.output);
  Json list = Json::array();
  size_t width = 0;
  const std::vector<OptionKey> all = recipe_keys();
  for (const OptionKey& key : all) width = std::max(width, key.path.size() + key.fallback.size());
  width = std::min<size_t>(width, 50);
  for (const OptionKey& key : all) {
    std::string line = key.path;
    if (!key.fallback.empty()) line += ": " + key.fallback;
    if (line.size() < width + 4) line.resize(width + 4, ' ');
    print_line(line + "  " + key.meaning);
    list.push_back({{"key", key.path}, {"default", key.fallback}, {"meaning", key.meaning}});
  }
  print_result(o.output, {{"keys", list}});
  return 0;
}

}  // namespace

void add_recipe(Command& hone) {
  static Options o;
  Command& c = hone.verb("recipe", "recipes resolved, and all their keys");
  Command& s = c.verb("show", "the recipe with every key");
  s.argument("RECIPE", o.recipe, "recipe file, or a preset of the objective");
  s.arguments("overrides", o.overrides, "overrides, e.g. optimizer.lr=1e-4", false);
  add_output_options(s, o.output);
  s.action([] { return show(o); });
  for (const auto& [verb, toolkit, from] :
       {std::tuple("from-trl", "TRL's GRPOConfig", &recipe_from_trl),
        std::tuple("from-verl", "verl's configuration", &recipe_from_verl)}) {
    Command& t = c.verb(verb, cat("a recipe from ", toolkit, ", with what has no counterpart"));
    t.argument("FILE", o.recipe, "YAML or JSON");
    t.option("--out", o.out, "recipe file, - for standard output");
    add_output_options(t, o.output);
    t.action([from = from] { return translate(o, from); });
  }
  Command& k = c.verb("keys", "all keys with default and meaning");
  add_output_options(k, o.output);
  k.action([] { return keys(o); });
}

}  // namespace hone
