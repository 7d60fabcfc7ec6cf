// hone recipe: recipes resolved, their keys, the objective's presets.
#include "train/recipe.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace hone {
namespace {

struct Options {
  std::string recipe;
  std::vector<std::string> overrides;
  OutputOptions output;
};

int show(const Options& o) {
  begin_output(o.output);
  const auto& presets = preset_names();
  if (std::find(presets.begin(), presets.end(), o.recipe) != presets.end()) {
    print_line(OptionWriter::write(preset_options(o.recipe)).dump(2));
    return 0;
  }
  const Recipe recipe = read_recipe(find_path(o.recipe), o.overrides);
  std::string text = recipe_text(recipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  print_line(text);
  print_result(o.output, OptionWriter::write(recipe));
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
  Command& k = c.verb("keys", "all keys with default and meaning");
  add_output_options(k, o.output);
  k.action([] { return keys(o); });
}

}  // namespace hone
