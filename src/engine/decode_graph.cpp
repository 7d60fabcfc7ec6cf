#ifdef HONE_WITH_CUDA
#include "engine/decode_graph.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "base/error.h"
#include "engine/token_sampling.h"
#include "kernels/cuda_attention.h"
#include "kernels/cuda_decode_step.h"
#include "kernels/cuda_sample.h"

namespace hone {

namespace k = kernels::cuda;

namespace {

// Rows of the graph that serves `rows`: few sizes, little waste.
int64_t bucket(int64_t rows) {
  if (rows <= 4) return rows;
  if (rows <= 32) return (rows + 3) / 4 * 4;
  if (rows <= 128) return (rows + 15) / 16 * 16;
  if (rows <= 512) return (rows + 31) / 32 * 32;
  return (rows + 127) / 128 * 128;
}

// As attention splits its work: latents are one key head, whose values are the kv_rank wide front.
k::HeadShape attention_heads(const ModelConfig& c) {
  const bool latent = c.latent.kv_rank > 0;
  return {static_cast<int32_t>(c.heads), static_cast<int32_t>(c.cache_heads()),
          static_cast<int32_t>(latent ? c.latent.kv_rank : c.head_dim), 1.0f, 0};
}

// Pieces of one buffer, each on a 16-byte boundary.
class Layout {
 public:
  int64_t add(int64_t bytes) {
    const int64_t at = size_;
    size_ += (bytes + 15) / 16 * 16;
    return at;
  }
  int64_t size() const { return size_; }

 private:
  int64_t size_ = 0;
};

}  // namespace

// State that the host writes before a chunk, in one piece; outputs that it reads after it, in one
// piece; and what stays on the device.
struct DecodeGraphs::Buffers {
  int64_t rows = 0, table_stride = 0;  // capacities
  int64_t tokens, positions, slots, contexts, places, limits, earliest, forbid, keys, samples,
      parameters, stop_ids, stop_count, step, tables;  // in `state`
  at::Tensor state, staging;                           // device, pinned host
  at::Tensor outputs, results;  // [3][kDecodeChunk][rows], device and pinned host
  at::Tensor routes;            // [rows, sparse layers, experts a token], of one step
  at::Tensor route_results;     // [kDecodeChunk, rows, ...], pinned host
  at::Tensor drawn;             // [rows] int64
  at::Tensor logprobs;          // [2][rows]
  at::Tensor workspace;         // of the draws
  at::Tensor work_items, work_counts, work_partial;
  k::DecodeWork work{};

  template <class T>
  T* device(int64_t at) const {
    return reinterpret_cast<T*>(state.data_ptr<uint8_t>() + at);
  }
  template <class T>
  T* host(int64_t at) const {
    return reinterpret_cast<T*>(staging.data_ptr<uint8_t>() + at);
  }
};

struct DecodeGraphs::Graph {
  at::cuda::CUDAGraph graph;
  ForwardBatch batch;
  k::DecodeStep step;
};

DecodeGraphs::DecodeGraphs(const Transformer& model)
    : model_(&model), pool_(at::cuda::graph_pool_handle()) {}
DecodeGraphs::~DecodeGraphs() = default;

bool DecodeGraphs::serves(const Transformer& model) {
  const ModelConfig& c = model.config();
  return model.device().is_cuda() &&
         (c.experts.count == 0 || ops::has_grouped_experts(c, model.dtype()));
}

// A pool ends with the last graph that uses it.
void DecodeGraphs::forget() {
  graphs_.clear();
  pool_ = at::cuda::graph_pool_handle();
}

void DecodeGraphs::prepare(const KvCache& cache, const SamplingOptions& options,
                           const std::vector<int64_t>& stop_ids, const Extent& extent) {
  const c10::cuda::CUDAGuard guard(model_->device());
  cache_ = &cache;
  options_ = options;
  stop_ids_ = stop_ids;
  filtered_ = filters(options);
  const ops::RopeTable& rope = model_->reserve_positions(extent.longest);
  std::vector<const void*> at{rope.cos.const_data_ptr(), rope.sin.const_data_ptr()};
  for (const std::vector<at::Tensor>* tensors : {&cache.keys, &cache.values}) {
    for (const at::Tensor& layer : *tensors) at.push_back(layer.const_data_ptr());
  }
  if (at != captured_with_) forget();
  captured_with_ = std::move(at);
  allocate(extent);
  if (options.record_routing) allocate_routes();
}

// Beside the other buffers: graphs that do not record stay as they are.
void DecodeGraphs::allocate_routes() {
  Buffers& b = *buffers_;
  if (b.routes.defined()) return;
  const ModelConfig& c = model_->config();
  const std::vector<int64_t> step{b.rows, c.sparse_layers(), c.experts.per_token};
  b.routes = at::zeros(step, at::TensorOptions(at::kShort).device(model_->device()));
  b.route_results = at::zeros({kDecodeChunk, step[0], step[1], step[2]},
                              at::TensorOptions(at::kShort).pinned_memory(true));
}

void DecodeGraphs::allocate(const Extent& extent) {
  const ModelConfig& c = model_->config();
  int64_t rows = bucket(extent.rows), stride = blocks_for(extent.longest);
  const int64_t keys = std::min(extent.keys, extent.rows * extent.longest);
  int64_t capacity = rows + (keys + k::kSpanKeys - 1) / k::kSpanKeys;
  if (buffers_) {
    const Buffers& old = *buffers_;
    if (old.rows >= rows && old.table_stride >= stride && old.work.capacity >= capacity) return;
    rows = std::max(rows, old.rows);
    stride = std::max(stride, old.table_stride);
    capacity = std::max<int64_t>(capacity, old.work.capacity);
  }
  forget();
  buffers_.reset();  // before the new one is made
  auto b = std::make_unique<Buffers>();
  b->rows = rows;
  b->table_stride = stride;
  Layout layout;
  for (int64_t* at : {&b->tokens, &b->positions, &b->slots, &b->places, &b->keys, &b->samples}) {
    *at = layout.add(8 * rows);
  }
  for (int64_t* at : {&b->contexts, &b->limits, &b->earliest}) *at = layout.add(4 * rows);
  b->forbid = layout.add(rows);
  b->parameters = layout.add(sizeof(k::SamplingParameters));
  b->stop_ids = layout.add(4 * kMostStopIds);
  b->stop_count = layout.add(4);
  b->step = layout.add(4);
  b->tables = layout.add(4 * rows * b->table_stride);
  const auto on_device = at::TensorOptions().device(model_->device());
  const auto pinned = at::TensorOptions().pinned_memory(true);
  b->state = at::zeros({layout.size()}, on_device.dtype(at::kByte));
  b->staging = at::zeros({layout.size()}, pinned.dtype(at::kByte));
  b->outputs = at::zeros({3, kDecodeChunk, rows}, on_device.dtype(at::kInt));
  b->results = at::zeros({3, kDecodeChunk, rows}, pinned.dtype(at::kInt));
  b->drawn = at::zeros({rows}, on_device.dtype(at::kLong));
  b->logprobs = at::zeros({2, rows}, on_device.dtype(at::kFloat));
  b->workspace = at::empty({static_cast<int64_t>(k::sample_workspace_bytes(rows, c.vocab_size))},
                           on_device.dtype(at::kByte));
  const k::HeadShape heads = attention_heads(c);
  b->work_items = at::zeros({capacity, 4}, on_device.dtype(at::kInt));
  b->work_counts = at::zeros({1 + rows + rows * c.heads}, on_device.dtype(at::kInt));
  b->work_partial =
      at::empty({k::decode_partial_floats(heads, capacity)}, on_device.dtype(at::kFloat));
  int32_t* counts = b->work_counts.data_ptr<int32_t>();
  b->work = {reinterpret_cast<k::SpanItem*>(b->work_items.data_ptr<int32_t>()),
             counts,
             counts + 1,
             counts + 1 + rows,
             b->work_partial.data_ptr<float>(),
             static_cast<int32_t>(capacity)};
  buffers_ = std::move(b);
}

void DecodeGraphs::upload(const Step& step, const Scheduler& scheduler, int64_t rows) {
  Buffers& b = *buffers_;
  int64_t row = 0;
  for (const Step::Item& item : step.items) {
    const PromptGroup& group = scheduler.group(item.group);
    const Sequence& s = scheduler.sequence(item.sequence);
    const int64_t earliest = stop_ids_.empty() ? 0 : group.length() + options_.min_tokens;
    for (int64_t position = item.begin; position < item.begin + item.length; ++position, ++row) {
      const int64_t length = position + 1;
      b.host<int64_t>(b.tokens)[row] = scheduler.token(s, position);
      b.host<int64_t>(b.positions)[row] = position;
      b.host<int64_t>(b.slots)[row] =
          int64_t{s.blocks[static_cast<size_t>(position / kCacheBlockTokens)]} * kCacheBlockTokens +
          position % kCacheBlockTokens;
      b.host<int64_t>(b.places)[row] = length;
      b.host<uint64_t>(b.keys)[row] = group.key;
      b.host<int64_t>(b.samples)[row] = s.sample;
      b.host<int32_t>(b.contexts)[row] = static_cast<int32_t>(length);
      b.host<int32_t>(b.limits)[row] = static_cast<int32_t>(group.length() + s.max_tokens);
      b.host<int32_t>(b.earliest)[row] = static_cast<int32_t>(earliest);
      b.host<uint8_t>(b.forbid)[row] = length < earliest;
      std::copy(s.blocks.begin(), s.blocks.end(), b.host<int32_t>(b.tables) + row * b.table_stride);
    }
  }
  for (; row < rows; ++row) {  // empty
    b.host<int32_t>(b.contexts)[row] = 0;
    b.host<int64_t>(b.tokens)[row] = b.host<int64_t>(b.positions)[row] = 0;
    b.host<int64_t>(b.places)[row] = 0;
    b.host<int64_t>(b.slots)[row] = -1;
    b.host<uint8_t>(b.forbid)[row] = 0;
  }
  *b.host<k::SamplingParameters>(b.parameters) =
      cuda_parameters(options_, model_->config().vocab_size);
  int32_t* ids = b.host<int32_t>(b.stop_ids);
  std::fill_n(ids, kMostStopIds, stop_ids_.empty() ? 0 : static_cast<int32_t>(stop_ids_.front()));
  std::copy(stop_ids_.begin(), stop_ids_.end(), ids);
  *b.host<int32_t>(b.stop_count) = static_cast<int32_t>(stop_ids_.size());
  *b.host<int32_t>(b.step) = 0;
  const int64_t used = b.tables + 4 * rows * b.table_stride;
  b.state.narrow(0, 0, used).copy_(b.staging.narrow(0, 0, used), /*non_blocking=*/true);
}

// One step of `rows` rows on the current stream, from state to state.
void DecodeGraphs::launch(int64_t rows) {
  const at::NoGradGuard no_grad;
  Buffers& b = *buffers_;
  Graph& g = *graphs_.at({rows, filtered_, options_.record_routing});
  const auto stream = c10::cuda::getCurrentCUDAStream().stream();
  const k::HeadShape heads = attention_heads(model_->config());
  const int32_t slices = heads.kv_heads * ((heads.heads / heads.kv_heads + 15) / 16);
  k::plan_decode(g.step.rows, g.step.work, slices, stream);
  const at::Tensor logits = model_->next_logits(g.batch);  // [rows, V]
  k::SampleCall call{};
  call.logits = logits.const_data_ptr<float>();
  call.batch = rows;
  call.vocab = logits.size(1);
  call.parameters = b.device<k::SamplingParameters>(b.parameters);
  call.filtered = filtered_;
  call.keys = b.device<uint64_t>(b.keys);
  call.samples = b.device<int64_t>(b.samples);
  call.positions = b.device<int64_t>(b.places);
  call.forbidden = b.device<int32_t>(b.stop_ids);
  call.forbidden_count = kMostStopIds;  // the same in every capture: some stand there twice
  call.forbid = b.device<uint8_t>(b.forbid);
  call.tokens = b.drawn.data_ptr<int64_t>();
  call.logprobs = b.logprobs.data_ptr<float>();
  call.sampled_logprobs = call.logprobs + b.rows;
  call.workspace = b.workspace.data_ptr();
  k::sample_tokens(call, stream);
  const k::DecodeState state{b.device<int64_t>(b.tokens),     b.device<int64_t>(b.positions),
                             b.device<int64_t>(b.slots),      b.device<int32_t>(b.contexts),
                             b.device<int64_t>(b.places),     b.device<int32_t>(b.limits),
                             b.device<int32_t>(b.earliest),   b.device<uint8_t>(b.forbid),
                             b.device<int32_t>(b.tables),     static_cast<int32_t>(b.table_stride),
                             static_cast<int32_t>(rows),      b.device<int32_t>(b.stop_ids),
                             b.device<int32_t>(b.stop_count), b.device<int32_t>(b.step)};
  int32_t* out = b.outputs.data_ptr<int32_t>();
  const int64_t plane = kDecodeChunk * b.rows;
  k::advance_decode(
      state, call.tokens, call.logprobs, call.sampled_logprobs,
      {out, reinterpret_cast<float*>(out + plane), reinterpret_cast<float*>(out + 2 * plane)},
      stream);
}

DecodeGraphs::Graph& DecodeGraphs::graph(int64_t rows) {
  std::unique_ptr<Graph>& g = graphs_[{rows, filtered_, options_.record_routing}];
  if (g) return *g;
  Buffers& b = *buffers_;
  g = std::make_unique<Graph>();
  g->step = {{b.device<int32_t>(b.contexts), b.device<int32_t>(b.tables),
              static_cast<int32_t>(b.table_stride), static_cast<int32_t>(rows)},
             b.work};
  const auto longs = at::TensorOptions().device(model_->device()).dtype(at::kLong);
  g->batch.tokens = at::from_blob(b.device<int64_t>(b.tokens), {rows}, longs);
  g->batch.positions = at::from_blob(b.device<int64_t>(b.positions), {rows}, longs);
  g->batch.slots = at::from_blob(b.device<int64_t>(b.slots), {rows}, longs);
  g->batch.cache = const_cast<KvCache*>(cache_);
  g->batch.decode = &g->step;
  if (options_.record_routing) g->batch.routes = b.routes.narrow(0, 0, rows);
  // Once by itself, with empty rows: libraries set themselves up, nothing is written.
  const c10::cuda::CUDAStream side = c10::cuda::getStreamFromPool();
  c10::cuda::getCurrentCUDAStream().synchronize();
  {
    const c10::cuda::CUDAStreamGuard on_side(side);
    b.state.zero_();
    b.state.narrow(0, b.slots, 8 * rows).fill_(0xFF);  // -1: nothing goes into the cache
    launch(rows);
    side.synchronize();
    // Other threads may go on calling the device: a checkpoint is written meanwhile.
    g->graph.capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    launch(rows);
    g->graph.capture_end();
    side.synchronize();
  }
  return *g;
}

void DecodeGraphs::run(const Step& step, const Scheduler& scheduler,
                       std::vector<DrawnTokens>& drawn) {
  const c10::cuda::CUDAGuard guard(model_->device());
  int64_t real = 0;
  for (const Step::Item& item : step.items) real += item.length;
  const int64_t rows = bucket(real);
  Graph& g = graph(rows);
  Buffers& b = *buffers_;
  upload(step, scheduler, rows);
  for (int64_t i = 0; i < step.tokens; ++i) {
    g.graph.replay();
    if (options_.record_routing) {
      b.route_results.select(0, i).narrow(0, 0, rows).copy_(g.batch.routes, /*non_blocking=*/true);
    }
  }
  // [3][kDecodeChunk * rows of the buffers], of which the first step.tokens * rows are filled.
  const int64_t used = step.tokens * rows, plane = kDecodeChunk * b.rows;
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  C10_CUDA_CHECK(cudaMemcpy2DAsync(b.results.data_ptr(), 4 * plane, b.outputs.const_data_ptr(),
                                   4 * plane, 4 * used, 3, cudaMemcpyDeviceToHost,
                                   stream.stream()));
  stream.synchronize();
  const int32_t* tokens = b.results.const_data_ptr<int32_t>();
  const auto* logprobs = reinterpret_cast<const float*>(tokens + plane);
  const auto* sampled = reinterpret_cast<const float*>(tokens + 2 * plane);
  const int64_t width =
      options_.record_routing ? b.route_results.size(2) * b.route_results.size(3) : 0;
  drawn.resize(step.items.size());
  int64_t row = 0;
  for (size_t i = 0; i < drawn.size(); ++i) {
    drawn[i].clear();
    // One after the other in one row, or one in each of the draft's rows.
    for (int64_t end = row + step.items[i].length; row < end; ++row) {
      for (int64_t t = 0; t < step.tokens; ++t) {
        const int64_t at = t * rows + row;
        if (tokens[at] < 0) break;
        drawn[i].add(tokens[at], logprobs[at], sampled[at]);
        if (width == 0) continue;
        const int16_t* routes =
            b.route_results.const_data_ptr<int16_t>() + (t * b.rows + row) * width;
        drawn[i].routes.insert(drawn[i].routes.end(), routes, routes + width);
      }
    }
  }
}

}  // namespace hone
#endif
