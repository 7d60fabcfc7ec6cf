// A run: its directory, its stages, resume.
//
//   recipe.yaml  metrics.jsonl  timing.jsonl  events.out.tfevents.*  provenance.json
//   examples.jsonl  report.html  model/
//   stages/NN-NAME/{begin.json, finished.json, rollouts/, checkpoints/, model/}
#pragma once

#include <csignal>
#include <string>

#include "model/transformer.h"
#include "train/display.h"
#include "train/recipe.h"

namespace hone {

struct RunOptions {
  std::string directory;
  bool resume = false;
  DisplayOptions display;
};

// Why a run ended.
enum class RunEnd { finished, interrupted, terminated, out_of_time };

// Runs the recipe's stages in order; a finished stage is not run again. Throws UserError (an
// existing run without `resume`, a changed recipe, bad input) and RunError.
RunEnd run_recipe(const Recipe& recipe, const RunOptions& options);

// Set by the signal handlers of main: SIGINT or SIGTERM. The run finishes its step and saves.
extern volatile std::sig_atomic_t stop_signal;

// "cuda:0" or "cpu" for auto; throws UserError for a device that is not there.
ModelPlace choose_place(const std::string& device, const std::string& dtype, bool trainable,
                        bool exact = false);
// Sets the threads of kernels and LibTorch; 0: all cores.
void set_threads(int64_t threads);

}  // namespace hone
