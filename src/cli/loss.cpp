// hone loss: the objective on arrays.
#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "train/loss_json.h"

namespace hone {
namespace {

struct Options {
  std::string in, out = "-";
  OutputOptions output;
};

std::string read_all(const std::string& path) {
  if (path != "-") return read_file(find_path(path));
  std::string text;
  for_each_line(path, [&](int64_t, const std::string& line) { text += line + "\n"; });
  return text;
}

int run(const Options& o) {
  begin_output(o.output);
  const Json input = Json::parse(read_all(o.in), nullptr, false);
  if (!input.is_object()) throw UserError(cat(o.in, ": expected one JSON object"));
  Json result;
  try {
    result = loss_from_json(input);
  } catch (const UserError& error) {
    throw UserError(cat(o.in, ": ", error.what()));
  }
  RowWriter writer(o.out);
  writer.write(to_line(result));
  writer.finish();
  if (o.out != "-") print_result(o.output, {{"loss", result["loss"]}});
  return 0;
}

}  // namespace

void add_loss(Command& hone) {
  static Options o;
  Command& c = hone.verb("loss", "the training objective on given arrays, with its gradient");
  c.option("--in", o.in,
           "JSON file, - for standard input: logp, rewards or advantages, group, config, ...",
           true);
  c.option("--out", o.out, "JSON file, - for standard output");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
