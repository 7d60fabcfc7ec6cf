#include "kernels/cuda_decode_step.h"

namespace hone::kernels::cuda {

namespace {

constexpr int kBlock = 16;  // tokens of a cache block

__global__ void advance_kernel(const DecodeState s, const int64_t* drawn, const float* logprobs,
                               const float* sampled_logprobs, const DecodeOutputs out) {
  const int step = *s.step;
  __syncthreads();
  if (threadIdx.x == 0) *s.step = step + 1;
  for (int row = threadIdx.x; row < s.batch; row += blockDim.x) {
    const int64_t at = static_cast<int64_t>(step) * s.batch + row;
    int context = s.contexts[row];
    if (context == 0) {
      out.tokens[at] = -1;
      continue;
    }
    const int64_t token = drawn[row];
    out.tokens[at] = static_cast<int32_t>(token);
    out.logprobs[at] = logprobs[row];
    out.sampled_logprobs[at] = sampled_logprobs[row];
    bool ended = context + 1 >= s.limits[row];
    for (int i = 0; i < *s.stop_count; ++i) ended |= s.stop_ids[i] == token;
    context = ended ? 0 : context + 1;
    s.contexts[row] = context;
    const int position = max(context - 1, 0);
    s.tokens[row] = ended ? 0 : token;
    s.positions[row] = position;
    s.places[row] = context;
    s.forbid[row] = context < s.earliest[row];
    s.slots[row] =
        ended ? -1
              : static_cast<int64_t>(
                    s.tables[static_cast<int64_t>(row) * s.table_stride + position / kBlock]) *
                        kBlock +
                    position % kBlock;
  }
}

}  // namespace

void advance_decode(const DecodeState& state, const int64_t* drawn, const float* logprobs,
                    const float* sampled_logprobs, const DecodeOutputs& outputs,
                    cudaStream_t stream) {
  advance_kernel<<<1, 512, 0, stream>>>(state, drawn, logprobs, sampled_logprobs, outputs);
}

}  // namespace hone::kernels::cuda
