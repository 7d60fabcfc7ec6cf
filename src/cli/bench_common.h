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

// Lengths of `n` completions, log-normal like those of models that think: of 8,192 tokens at most
// half are above 300 and one in a hundred above 4,096, of another `longest` in proportion.
constexpr double kTailMedian = 300, kTail99 = 4096;
constexpr int64_t kTailLongest = 8192;
std::vector<int64_t> tail_lengths(int64_t n, int64_t longest, uint64_t key);

double median(std::vector<double> values);

// Tokens that a training step has to compute side by side: they see `prefix` tokens in front, and
// `predicted` of them go through the head.
struct TrainedSegment {
  int64_t length = 0, prefix = 0, predicted = 0;
};

// Floating-point operations of forward and backward, nothing computed twice: 6 for each parameter
// that multiplies a token (the head for those that predict, not the embedding), 4 where it is
// frozen under an adapter, and 12 H D a layer for each key that causal attention sees.
double training_flops(const Transformer& model, const std::vector<TrainedSegment>& segments);

// The rate of the device's largest products, operations a second: the median of several of
// 8192 x 8192 x 8192 in the dtype. 0 on the CPU, where it would take seconds.
double product_peak(const at::Device& device, at::ScalarType dtype);

}  // namespace hone
