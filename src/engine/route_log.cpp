#include "engine/route_log.h"

#include "base/error.h"

namespace hone {

void RouteLog::add(const Step& step, const Scheduler& scheduler, const at::Tensor& routes) {
  const int16_t* next = routes.const_data_ptr<int16_t>();
  for (const Step::Item& item : step.items) {
    add(item, scheduler, next, item.length);
    next += static_cast<size_t>(item.length) * width_;
  }
}

void RouteLog::add(const Step::Item& item, const Scheduler& scheduler, const int16_t* routes,
                   int64_t count) {
  if (width_ == 0) return;
  prompts_.resize(static_cast<size_t>(scheduler.group_count()));
  sequences_.resize(static_cast<size_t>(scheduler.sequence_count()));
  const int64_t prompt = scheduler.group(item.group).length();
  for (int64_t p = item.begin; p < item.begin + count; ++p, routes += width_) {
    Routes& kept = p < prompt ? prompts_[static_cast<size_t>(item.group)]
                              : sequences_[static_cast<size_t>(item.sequence)];
    const auto place = static_cast<size_t>(p < prompt ? p : p - prompt) * width_;
    HONE_CHECK(place <= kept.size());
    if (place == kept.size()) kept.insert(kept.end(), routes, routes + width_);
  }
}

std::vector<int16_t> RouteLog::take(int64_t sequence, const Scheduler& scheduler) {
  if (width_ == 0) return {};
  Routes routes = prompts_[static_cast<size_t>(scheduler.sequence(sequence).group)];
  const Routes own = std::move(sequences_[static_cast<size_t>(sequence)]);
  routes.insert(routes.end(), own.begin(), own.end());
  return routes;
}

}  // namespace hone
