// Draws and log-probabilities: one pass over the logits that leaves each chunk's statistics, then
// one warp a row that works with those and, to draw, reads one chunk again.
#include <cuda_runtime.h>

#include "base/rng.h"
#include "kernels/cuda_sample.h"
#include "kernels/vocabulary_chunks.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;

ChunkStatistics carve(void* workspace, int64_t batch, int64_t vocab) {
  const int64_t n = batch * chunks_of(vocab);
  float* next = static_cast<float*>(workspace);
  const auto take = [&next](int64_t floats) {
    float* const taken = next;
    next += floats;
    return taken;
  };
  ChunkStatistics s;
  s.max = take(n);
  s.sum = take(n);
  s.weighted = take(n);
  s.draw_max = take(n);
  s.draw_sum = take(n);
  s.threshold = take(batch);
  return s;
}

// ---- first pass: a warp takes a chunk
// --------------------------------------------------------------

// This warp's chunk of all; its index in the statistics is row * chunks + chunk.
struct Place {
  uint32_t row, chunk;
};
__device__ __forceinline__ uint32_t warp_index() { return blockIdx.x * kWarps + threadIdx.x / 32; }
__device__ __forceinline__ Place place_of(uint32_t index, uint32_t chunks) {
  return {index / chunks, index % chunks};
}

__global__ void __launch_bounds__(kThreads, 4)
    sample_chunks(const float* logits, const int32_t* rows, int64_t vocab, uint32_t chunks,
                  uint32_t all, const SamplingParameters* parameters, Forbidden forbidden,
                  ChunkStatistics s) {
  const uint32_t index = warp_index();
  if (index >= all) return;
  const Place place = place_of(index, chunks);
  const int64_t row = rows != nullptr ? rows[place.row] : place.row;
  const int chunk = static_cast<int>(place.chunk);
  const float inv_temperature = parameters->inv_temperature;
  ChunkValues v = load_chunk(logits + row * vocab, vocab, chunk);

  const float max = chunk_max(v);
  const ChunkSums model = chunk_sums(v, max, kLog2E);
  float draw_max = max, draw_sum = model.sum;
  const bool masked = mask_forbidden(v, forbidden, place.row, chunk);
  if (masked) draw_max = chunk_max(v);
  if (inv_temperature != 0.0f && (masked || inv_temperature != 1.0f)) {
    draw_sum = chunk_sum(v, draw_max, __fmul_rn(inv_temperature, kLog2E));
  }
  if (lane_index() == 0) {
    s.max[index] = max;
    s.sum[index] = model.sum;
    s.weighted[index] = model.weighted;
    s.draw_max[index] = draw_max;
    s.draw_sum[index] = draw_sum;
  }
}

__global__ void __launch_bounds__(kThreads, 4)
    log_prob_chunks(const float* logits, int64_t vocab, uint32_t chunks, uint32_t all, float scale,
                    ChunkStatistics s) {
  const uint32_t index = warp_index();
  if (index >= all) return;
  const Place place = place_of(index, chunks);
  const ChunkValues v = load_chunk(logits + static_cast<int64_t>(place.row) * vocab, vocab,
                                   static_cast<int>(place.chunk));
  const float max = chunk_max(v);
  const ChunkSums sums = chunk_sums(v, max, scale);
  if (lane_index() == 0) {
    s.max[index] = max;
    s.sum[index] = sums.sum;
    s.weighted[index] = sums.weighted;
  }
}

// ---- second pass: a warp takes a row
// ---------------------------------------------------------------

// The lowest lane whose `hit` holds, or otherwise the highest whose `possible` does, or -1.
struct Choice {
  int lane;
  bool hit;
};
__device__ Choice choose(bool hit, bool possible) {
  const unsigned hits = __ballot_sync(kAllLanes, hit);
  if (hits != 0) return {__ffs(static_cast<int>(hits)) - 1, true};
  const unsigned rest = __ballot_sync(kAllLanes, possible);
  return {rest != 0 ? 31 - __clz(static_cast<int>(rest)) : -1, false};
}

struct ChosenChunk {
  int chunk;
  double before;  // the weights of the chunks before it
};

// The first chunk with which the cumulative weight exceeds the threshold. Rounding may leave none:
// then the last that has a weight.
__device__ ChosenChunk find_chunk(const float* max, const float* sum, const LaneSums& sums,
                                  float shift, float scale, double threshold) {
  const Choice choice = choose(sums.own > 0.0 && sums.inclusive > threshold, sums.own > 0.0);
  double before = __shfl_up_sync(kAllLanes, sums.inclusive, 1);
  if (lane_index() == 0) before = 0.0;
  ChosenChunk mine{0, 0.0};
  double cumulative = before;
  for (int c = sums.begin; c < sums.end; ++c) {
    const double weight = static_cast<double>(chunk_weight(max[c], sum[c], shift, scale));
    if (weight > 0.0) mine = {c, cumulative};
    cumulative += weight;
    if (weight > 0.0 && cumulative > threshold) break;
  }
  const int lane = choice.lane < 0 ? 0 : choice.lane;
  return {__shfl_sync(kAllLanes, mine.chunk, lane), __shfl_sync(kAllLanes, mine.before, lane)};
}

// The same within a chunk, whose threshold is relative to its own maximum: an index in the chunk.
__device__ int find_in_chunk(const ChunkValues& v, float max, float scale, double threshold) {
  const float shift = shift_of(max);
  double before = 0.0;
  int last_possible = 0;
#pragma unroll
  for (int j = 0; j < kOfLane / 4; ++j) {
    float weights[4];
    double own = 0.0;
    for (int k = 0; k < 4; ++k) {
      weights[k] = exp2_flushed(exponent(v.values[4 * j + k], shift, scale));
      own += static_cast<double>(weights[k]);
    }
    const double inclusive = inclusive_sum(own);
    double cumulative = __shfl_up_sync(kAllLanes, inclusive, 1);
    cumulative = before + (lane_index() == 0 ? 0.0 : cumulative);
    int hit = -1, possible = -1;
    for (int k = 0; k < 4; ++k) {
      cumulative += static_cast<double>(weights[k]);
      if (!(weights[k] > 0.0f)) continue;
      possible = k;
      if (hit < 0 && cumulative > threshold) hit = k;
    }
    const Choice choice = choose(hit >= 0, possible >= 0);
    if (choice.lane >= 0) {
      const int k = __shfl_sync(kAllLanes, choice.hit ? hit : possible, choice.lane);
      last_possible = 128 * j + 4 * choice.lane + k;
      if (choice.hit) return last_possible;
    }
    before += __shfl_sync(kAllLanes, inclusive, 31);
  }
  return last_possible;
}

// The first chunk with this maximum.
__device__ int find_maximum_chunk(const float* max, float best, int chunks) {
  int first = chunks;
  for (int c = lane_index(); c < chunks && first == chunks; c += 32) {
    if (max[c] == best) first = c;
  }
  for (int step = 16; step > 0; step /= 2) {
    first = min(first, __shfl_xor_sync(kAllLanes, first, step));
  }
  return first == chunks ? 0 : first;
}

// The first index in the chunk with this value.
__device__ int find_maximum(const ChunkValues& v, float best) {
  if (best == negative_infinity()) return 0;  // what stands behind the row's end is -inf too
  int first = kChunk;
#pragma unroll
  for (int i = kOfLane - 1; i >= 0; --i) {
    if (v.values[i] == best) first = 4 * lane_index() + index_of(i);
  }
  for (int step = 16; step > 0; step /= 2) {
    first = min(first, __shfl_xor_sync(kAllLanes, first, step));
  }
  return first == kChunk ? 0 : first;
}

__global__ void __launch_bounds__(32)
    draw_kernel(SampleCall call, int chunks, Forbidden forbidden, ChunkStatistics s) {
  const int64_t draw = blockIdx.x, first = draw * chunks;
  const float* logits = call.logits + (call.rows != nullptr ? call.rows[draw] : draw) * call.vocab;
  const float inv_temperature = call.parameters->inv_temperature;
  const float scale = __fmul_rn(inv_temperature, kLog2E);
  const float *draw_max = s.draw_max + first, *draw_sum = s.draw_sum + first;

  const float shift = shift_of(row_max(s.max + first, chunks));
  const LaneSums model = row_sums(s.max + first, s.sum + first, chunks, shift, kLog2E);
  const float best = row_max(draw_max, chunks), draw_shift = shift_of(best);
  LaneSums sums{};
  int chunk;
  double threshold = 0.0;  // of the weights in the chunk
  if (inv_temperature == 0.0f) {
    chunk = find_maximum_chunk(draw_max, best, chunks);
  } else {
    sums = row_sums(draw_max, draw_sum, chunks, draw_shift, scale);
    const float u = philox_uniform(call.keys[draw], static_cast<uint64_t>(call.samples[draw]),
                                   static_cast<uint64_t>(call.positions[draw]));
    const double row_threshold = static_cast<double>(u) * sums.total;
    const ChosenChunk chosen =
        find_chunk(draw_max, draw_sum, sums, draw_shift, scale, row_threshold);
    chunk = chosen.chunk;
    threshold = (row_threshold - chosen.before) /
                static_cast<double>(exp2_flushed(exponent(draw_max[chunk], draw_shift, scale)));
  }

  ChunkValues v = load_chunk(logits, call.vocab, chunk);
  mask_forbidden(v, forbidden, draw, chunk);
  int index;
  if (inv_temperature == 0.0f) {
    index = find_maximum(v, best);
  } else {
    const float least = call.filtered ? s.threshold[draw] : negative_infinity();
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      if (!(v.values[i] >= least)) v.values[i] = negative_infinity();
    }
    index = find_in_chunk(v, draw_max[chunk], scale, threshold);
  }
  const int64_t token = static_cast<int64_t>(chunk) * kChunk + index;
  const float entropy = row_entropy(s, draw, chunks, shift, kLog2E, model);
  if (lane_index() == 0) {
    const float x = logits[token];
    call.tokens[draw] = token;
    call.logprobs[draw] = log_probability(x, shift, 1.0f, log_of_total(model.total));
    call.sampled_logprobs[draw] =
        inv_temperature == 0.0f
            ? 0.0f
            : log_probability(x, draw_shift, inv_temperature, log_of_total(sums.total));
    if (call.entropies != nullptr) call.entropies[draw] = entropy;
  }
}

__global__ void __launch_bounds__(32)
    log_prob_rows(const float* logits, const int64_t* targets, int64_t vocab, int chunks,
                  float inv_temperature, float scale, ChunkStatistics s, float* logp,
                  float* entropies, float* lse) {
  const int64_t row = blockIdx.x, first = row * chunks;
  const float shift = shift_of(row_max(s.max + first, chunks));
  const LaneSums sums = row_sums(s.max + first, s.sum + first, chunks, shift, scale);
  const float entropy = row_entropy(s, row, chunks, shift, scale, sums);
  if (lane_index() == 0) {
    const float log_total = log_of_total(sums.total);
    logp[row] =
        log_probability(logits[row * vocab + targets[row]], shift, inv_temperature, log_total);
    lse[row] = __fmaf_rn(shift, inv_temperature, log_total);
    if (entropies != nullptr) entropies[row] = entropy;
  }
}

// Chunks of the whole call, and thread blocks for them. Below 2^32: more would not fit the device.
uint32_t all_chunks(int64_t batch, int64_t vocab) {
  return static_cast<uint32_t>(batch * chunks_of(vocab));
}
unsigned blocks_for(uint32_t chunks) { return (chunks + kWarps - 1) / kWarps; }

}  // namespace

size_t sample_workspace_bytes(int64_t batch, int64_t vocab) {
  return static_cast<size_t>(batch * (5 * int64_t{chunks_of(vocab)} + 1)) * sizeof(float);
}

void sample_tokens(const SampleCall& call, cudaStream_t stream) {
  if (call.batch == 0) return;
  const int chunks = chunks_of(call.vocab);
  const uint32_t all = all_chunks(call.batch, call.vocab);
  const ChunkStatistics statistics = carve(call.workspace, call.batch, call.vocab);
  const Forbidden forbidden{call.forbidden, call.forbidden_count, call.forbid};
  sample_chunks<<<blocks_for(all), kThreads, 0, stream>>>(call.logits, call.rows, call.vocab,
                                                          static_cast<uint32_t>(chunks), all,
                                                          call.parameters, forbidden, statistics);
  if (call.filtered) launch_filter(call, forbidden, statistics, stream);
  draw_kernel<<<static_cast<unsigned>(call.batch), 32, 0, stream>>>(call, chunks, forbidden,
                                                                    statistics);
}

void log_prob(const float* logits, const int64_t* targets, int64_t rows, int64_t vocab,
              float inv_temperature, float* logp, float* entropy, float* lse, void* workspace,
              cudaStream_t stream) {
  if (rows == 0) return;
  const int chunks = chunks_of(vocab);
  const uint32_t all = all_chunks(rows, vocab);
  const ChunkStatistics statistics = carve(workspace, rows, vocab);
  const float scale = inv_temperature * kLog2E;
  log_prob_chunks<<<blocks_for(all), kThreads, 0, stream>>>(
      logits, vocab, static_cast<uint32_t>(chunks), all, scale, statistics);
  log_prob_rows<<<static_cast<unsigned>(rows), 32, 0, stream>>>(
      logits, targets, vocab, chunks, inv_temperature, scale, statistics, logp, entropy, lse);
}

}  // namespace hone::kernels::cuda
