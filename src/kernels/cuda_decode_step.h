// What stands around the model in a decode step that runs without the host: where each row's token
// goes in the cache, and which rows end. On raw device pointers.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace hone::kernels::cuda {

// B rows, each a sequence or empty (context 0). All on the device.
struct DecodeState {
  int64_t* tokens;          // [B] newest token of each row: what the step is fed
  int64_t* positions;       // [B] of it
  int64_t* slots;           // [B] of it in the cache, block * 16 + offset; -1: an empty row
  int32_t* contexts;        // [B] tokens of the sequence, this one included; 0: an empty row
  int64_t* places;          // [B] position of the token to be drawn, the same number
  const int32_t* limits;    // [B] the sequence ends when it is so long
  const int32_t* earliest;  // [B] stop ids may be drawn at positions from here on
  uint8_t* forbid;          // [B] whether the next draw is before that
  const int32_t* tables;    // [B][table_stride]
  int32_t table_stride, batch;
  const int32_t* stop_ids;    // [stop_capacity]; the first *stop_count count
  const int32_t* stop_count;  // [1]
  int32_t* step;              // [1] steps since the outputs were begun
};

// What a chunk of steps leaves for the host, [steps][B]. A token of -1: the row was empty.
struct DecodeOutputs {
  int32_t* tokens;
  float *logprobs, *sampled_logprobs;
};

// Takes over the step's draws: records them, ends rows at a stop id or their limit, prepares the
// others for the next step.
void advance_decode(const DecodeState& state, const int64_t* drawn, const float* logprobs,
                    const float* sampled_logprobs, const DecodeOutputs& outputs,
                    cudaStream_t stream);

}  // namespace hone::kernels::cuda
