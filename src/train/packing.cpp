#include "train/packing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace hone {
namespace {

bool same_prompt(const TrainingSequence& a, const TrainingSequence& b) {
  return a.prompt.data() == b.prompt.data() && a.prompt.size() == b.prompt.size();
}

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor t = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::memcpy(t.data_ptr<int64_t>(), values.data(), values.size() * sizeof(int64_t));
  return t.to(device, /*non_blocking=*/true);
}

}  // namespace

PackedBatch pack(std::span<const TrainingSequence> sequences, at::Device device,
                 bool share_prompts) {
  PackedBatch packed;
  std::vector<int64_t> tokens, positions, rows, targets;
  const auto append = [&](std::span<const int32_t> ids, int64_t first_position) {
    for (size_t i = 0; i < ids.size(); ++i) {
      tokens.push_back(ids[i]);
      positions.push_back(first_position + static_cast<int64_t>(i));
    }
  };
  packed.offsets.push_back(0);
  int64_t prompt_begin = -1;  // where the shared prompt of the current run of sequences begins
  for (size_t s = 0; s < sequences.size(); ++s) {
    const TrainingSequence& sequence = sequences[s];
    const int64_t p = static_cast<int64_t>(sequence.prompt.size());
    const bool like_last = s > 0 && same_prompt(sequences[s - 1], sequence);
    const bool like_next = s + 1 < sequences.size() && same_prompt(sequence, sequences[s + 1]);
    // The last token is predicted, never an input.
    const auto inputs = sequence.completion.first(sequence.completion.size() - 1);
    const int64_t begin = static_cast<int64_t>(tokens.size());
    int64_t first_prompt_row = begin, first_row;
    if (share_prompts && (like_last || like_next)) {
      if (!like_last) {
        prompt_begin = begin;
        append(sequence.prompt, 0);
        packed.forward.segments.push_back({begin, p, 0, 0});
      }
      first_prompt_row = prompt_begin;
      first_row = static_cast<int64_t>(tokens.size());
      append(inputs, p);
      if (!inputs.empty()) {
        packed.forward.segments.push_back(
            {first_row, static_cast<int64_t>(inputs.size()), prompt_begin, p});
      }
    } else {
      append(sequence.prompt, 0);
      append(inputs, p);
      packed.forward.segments.push_back({begin, p + static_cast<int64_t>(inputs.size()), 0, 0});
      first_row = begin + p;
    }
    packed.places.push_back({first_prompt_row, first_row});
    for (size_t i = 0; i < sequence.completion.size(); ++i) {
      rows.push_back(i == 0 ? first_prompt_row + p - 1 : first_row + static_cast<int64_t>(i) - 1);
      targets.push_back(sequence.completion[i]);
    }
    packed.offsets.push_back(static_cast<int64_t>(targets.size()));
  }
  packed.forward.tokens = to_tensor(tokens, device);
  packed.forward.positions = to_tensor(positions, device);
  packed.hidden_rows = to_tensor(rows, device);
  packed.targets = to_tensor(targets, device);
  return packed;
}

int64_t packed_tokens(std::span<const TrainingSequence> sequences, bool share_prompts) {
  size_t tokens = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const bool shares = share_prompts && s > 0 && same_prompt(sequences[s - 1], sequences[s]);
    tokens += sequences[s].completion.size() + (shares ? 0 : sequences[s].prompt.size());
  }
  return static_cast<int64_t>(tokens);
}

namespace {

// Calls copy(first row, first number, numbers) for the rows of the prompt and of the completion.
template <class Copy>
void each_part(const TrainingSequence& sequence, const PackedBatch::Place& place, size_t width,
               const Copy& copy) {
  const size_t prompt = sequence.prompt.size() * width;
  copy(place.prompt, size_t{0}, prompt);
  copy(place.completion, prompt, (sequence.completion.size() - 1) * width);
}

}  // namespace

at::Tensor pack_routes(std::span<const TrainingSequence> sequences, const PackedBatch& packed,
                       const ModelConfig& config) {
  const at::Tensor routes =
      at::empty({packed.forward.tokens.size(0), config.sparse_layers(), config.experts.per_token},
                at::kShort);
  const auto width = static_cast<size_t>(routes.size(1) * routes.size(2));
  for (size_t i = 0; i < sequences.size(); ++i) {
    const TrainingSequence& s = sequences[i];
    HONE_CHECK(s.routes.size() == (s.prompt.size() + s.completion.size() - 1) * width);
    each_part(s, packed.places[i], width, [&](int64_t row, size_t first, size_t count) {
      std::copy_n(s.routes.data() + first, count,
                  routes.data_ptr<int16_t>() + static_cast<size_t>(row) * width);
    });
  }
  return routes;
}

std::vector<int16_t> unpack_routes(const at::Tensor& routes, const TrainingSequence& sequence,
                                   const PackedBatch::Place& place) {
  const auto width = static_cast<size_t>(routes.size(1) * routes.size(2));
  std::vector<int16_t> own((sequence.prompt.size() + sequence.completion.size() - 1) * width);
  each_part(sequence, place, width, [&](int64_t row, size_t first, size_t count) {
    std::copy_n(routes.const_data_ptr<int16_t>() + static_cast<size_t>(row) * width, count,
                own.data() + first);
  });
  return own;
}

std::vector<size_t> cut_micro_batches(std::span<const TrainingSequence> sequences, int64_t budget,
                                      bool share_prompts) {
  std::vector<size_t> starts{0};
  int64_t used = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t completion = static_cast<int64_t>(sequences[s].completion.size());
    const int64_t prompt = static_cast<int64_t>(sequences[s].prompt.size());
    const bool shares =
        share_prompts && s > starts.back() && same_prompt(sequences[s - 1], sequences[s]);
    const int64_t cost = completion + (shares ? 0 : prompt);
    if (used > 0 && used + cost > budget) {
      starts.push_back(s);
      used = completion + prompt;
    } else {
      used += cost;
    }
  }
  starts.push_back(sequences.size());
  return starts;
}

}  // namespace hone
