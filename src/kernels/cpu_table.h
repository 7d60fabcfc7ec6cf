// What the two builds of the CPU kernels (AVX2 and AVX-512) export, and what they share.
//
// The .inl files are compiled twice with different instruction sets. They use nothing inline from
// the standard library: the linker would keep one of the two copies for the whole program, and
// that could be the one this CPU cannot run.
#pragma once

#include <cstdint>

#include "kernels/cpu_kernels.h"

namespace hone::kernels {

struct KernelTable {
  decltype(&kernels::pack_weight) pack_weight, pack_weight_transposed;
  decltype(&kernels::linear) linear;
  decltype(&kernels::linear_weight_grad) linear_weight_grad;
  decltype(&kernels::rms_norm) rms_norm;
  decltype(&kernels::rms_norm_backward) rms_norm_backward;
  decltype(&kernels::swiglu) swiglu;
  decltype(&kernels::swiglu_backward) swiglu_backward;
  decltype(&kernels::rope) rope;
  decltype(&kernels::store_kv) store_kv;
  decltype(&kernels::paged_attention) paged_attention;
  decltype(&kernels::attention_backward) attention_backward;
  decltype(&kernels::log_prob) log_prob;
  decltype(&kernels::log_prob_backward) log_prob_backward;
  // One row for the sampler: p[i] = exp(fma(x[i], inv_temperature, -max)), the sums of p in chunks
  // of kChunk, and logsumexp as log_prob computes it. p: [V]; chunk_sums: [ceil(V / kChunk)].
  float (*softmax_row)(const float* x, float inv_temperature, int64_t v, float* p,
                       float* chunk_sums);
};
constexpr int64_t kChunk = 64;

const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& table();  // the one in use

// Calls run(context, i) for every i in [0, tasks), on several threads if `nanoseconds`, the
// expected time of all of it on one thread, is worth a fork.
void parallel_tasks(int64_t tasks, int64_t nanoseconds, void (*run)(void*, int64_t), void* context);

// This thread's scratch, 64-byte aligned, kept between calls; the contents are undefined. A kernel
// uses kShared around its parallel loop and kTask inside.
enum class Scratch { kShared, kTask };
float* scratch(Scratch which, int64_t floats);

// max + log(sum), rounded once.
float log_sum_exp(float max, float sum);

}  // namespace hone::kernels
