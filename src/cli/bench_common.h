// What the measurements of models share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "cli/common.h"
#include "model/transformer.h"

namespace hone {

// A model of a named shape. Its weights are drawn on its device in a moment, unlike those of
// Transformer::initialize: they are not the same on another device.
std::unique_ptr<Transformer> make_bench_model(const std::string& shape, const ModelOptions& place,
                                              bool trainable);

std::vector<int32_t> random_ids(int64_t n, int64_t vocab, Rng& rng);

double median(std::vector<double> values);

}  // namespace hone
