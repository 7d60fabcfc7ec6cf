// hone logprobs: log p of every token given those before it, teacher-forced.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "model/transformer.h"
#include "train/packing.h"

namespace hone {
namespace {

constexpr int64_t kTokensAtOnce = 8192;

struct Options {
  std::string model;
  JsonlFiles files;
  ModelOptions place;
  OutputOptions output;
};

std::vector<int32_t> checked_ids(const Json& row, const ModelConfig& config) {
  std::vector<int32_t> ids = ids_of(row, "ids");
  if (static_cast<int64_t>(ids.size()) > config.max_positions) {
    throw UserError(
        cat("'ids': has ", ids.size(), " tokens; the model's context is ", config.max_positions));
  }
  for (const int32_t id : ids) {
    if (id >= config.vocab_size) {
      throw UserError(cat("'ids': ", id, " is outside the vocabulary of ", config.vocab_size));
    }
  }
  return ids;
}

// [N] sequences of at least two tokens -> log-probabilities of all but their first.
void forward(const Transformer& model, std::span<const TrainingSequence> sequences,
             std::vector<std::vector<float>>& out) {
  const at::NoGradGuard no_grad;
  const PackedBatch packed = pack(sequences, model.device(), false);
  const at::Tensor hidden = model.forward(packed.forward).index_select(0, packed.hidden_rows);
  const at::Tensor logp = model.log_probs(hidden, packed.targets).logp.to(at::kCPU).contiguous();
  const float* values = logp.data_ptr<float>();
  for (size_t i = 0; i < sequences.size(); ++i) {
    out.emplace_back(values + packed.offsets[i], values + packed.offsets[i + 1]);
  }
}

void score_rows(const Transformer& model, std::vector<JsonlRow*>& rows) {
  std::vector<std::vector<int32_t>> ids(rows.size());
  std::vector<TrainingSequence> sequences;
  std::vector<JsonlRow*> owners;
  for (size_t i = 0; i < rows.size(); ++i) {
    try {
      ids[i] = checked_ids(rows[i]->in, model.config());
    } catch (const UserError& error) {
      rows[i]->error = error.what();
      continue;
    }
    rows[i]->out["logprobs"] = Json::array();
    if (!ids[i].empty()) rows[i]->out["logprobs"].push_back(nullptr);
    if (ids[i].size() < 2) continue;
    const std::span<const int32_t> all = ids[i];
    sequences.push_back({all.first(1), all.subspan(1)});
    owners.push_back(rows[i]);
  }
  const std::vector<size_t> cuts = cut_micro_batches(sequences, kTokensAtOnce, false);
  std::vector<std::vector<float>> logp;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    forward(model, std::span(sequences).subspan(cuts[i], cuts[i + 1] - cuts[i]), logp);
  }
  for (size_t i = 0; i < logp.size(); ++i) {
    for (Json& value : json_floats(logp[i])) owners[i]->out["logprobs"].push_back(value);
  }
}

int run(const Options& o) {
  begin_output(o.output);
  const auto model = open_model(find_model(o.model), o.place);
  return map_jsonl(o.files, o.output, 256,
                   [&](std::vector<JsonlRow*>& rows) { score_rows(*model, rows); });
}

}  // namespace

void add_logprobs(Command& hone) {
  static Options o;
  Command& c = hone.verb("logprobs", "log-probabilities of given tokens, in float32");
  c.argument("MODEL", o.model, "model directory, or a run");
  add_jsonl_options(c, o.files, "{ids}");
  add_model_options(c, o.place);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
