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

// Floating-point operations of forward and backward over sequences of these lengths, nothing
// computed twice: 6 for each parameter that multiplies a token (the head, not the embedding), and
// 6 H D s^2 a layer for causal attention over s tokens.
double training_flops(const ModelConfig& config, const std::vector<int64_t>& lengths);

// The rate of the device's largest products, operations a second: the median of several of
// 8192 x 8192 x 8192 in the dtype. 0 on the CPU, where it would take seconds.
double product_peak(const at::Device& device, at::ScalarType dtype);

}  // namespace hone
