// Threads of the CPU kernels.
//
// Not OpenMP: its join waits for every thread of the team, also for one that the system has not
// yet let run. On a machine that does other work besides, each call then takes as long as a time
// slice. Here the caller takes tasks too and waits for those alone that are under way.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "kernels/cpu_kernels.h"
#include "kernels/cpu_table.h"

namespace hone::kernels {

namespace {

constexpr int kMostThreads = 256;
constexpr int kSpins = 1000;  // some 30 microseconds; then a waiting thread sleeps

// Everything that workers see before they may touch a job, in one word (a futex): the number of
// workers at work, whether more may join, how many may, and the number of the job.
using Gate = uint32_t;
constexpr Gate kOpen = 1u << 8;
constexpr int kLimitShift = 9, kJobShift = 17;
Gate active(Gate gate) { return gate & 0xFF; }
Gate limit(Gate gate) { return (gate >> kLimitShift) & 0xFF; }
Gate job(Gate gate) { return gate >> kJobShift; }

struct Pool {
  std::mutex owner;  // held by the thread whose job it is
  int workers = 0;
  alignas(64) std::atomic<Gate> gate{0};
  // The job; changed only while the gate is closed and nobody is at work.
  void (*run)(void*, int64_t) = nullptr;
  void* context = nullptr;
  int64_t tasks = 0;
  alignas(64) std::atomic<int64_t> next{0};
};

Pool& pool() {
  static Pool* pool = new Pool;  // never destroyed: its threads run until the process ends
  return *pool;
}

int thread_count = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 255);
thread_local bool inside_task = false;

void take_tasks(Pool& p) {
  inside_task = true;
  for (int64_t i; (i = p.next.fetch_add(1, std::memory_order_relaxed)) < p.tasks;) {
    p.run(p.context, i);
  }
  inside_task = false;
}

void work(Pool& p, Gate id) {
  Gate last_job = 0;
  int spins = 0;
  while (true) {
    Gate gate = p.gate.load(std::memory_order_acquire);
    if ((gate & kOpen) != 0 && job(gate) != last_job && id < limit(gate)) {
      if (!p.gate.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) continue;
      last_job = job(gate);
      take_tasks(p);
      const Gate before = p.gate.fetch_sub(1, std::memory_order_acq_rel);
      if ((before & kOpen) == 0 && active(before) == 1) p.gate.notify_all();
      spins = 0;
    } else if (++spins < kSpins) {
      _mm_pause();
    } else {
      p.gate.wait(gate, std::memory_order_acquire);
      spins = 0;
    }
  }
}

}  // namespace

void set_num_threads(int threads) { thread_count = std::clamp(threads, 1, kMostThreads - 1); }
int num_threads() { return thread_count; }

void parallel_tasks(int64_t tasks, int64_t nanoseconds, void (*run)(void*, int64_t),
                    void* context) {
  constexpr int64_t kWorthSharing = 20000;
  Pool& p = pool();
  const int threads = static_cast<int>(std::min<int64_t>(thread_count, tasks));
  if (threads <= 1 || nanoseconds < kWorthSharing || inside_task || !p.owner.try_lock()) {
    for (int64_t i = 0; i < tasks; ++i) run(context, i);
    return;
  }
  const std::lock_guard lock(p.owner, std::adopt_lock);
  for (; p.workers < threads - 1; ++p.workers) {
    std::thread(work, std::ref(p), static_cast<Gate>(p.workers)).detach();
  }
  p.run = run;
  p.context = context;
  p.tasks = tasks;
  p.next.store(0, std::memory_order_relaxed);
  const Gate number = job(p.gate.load(std::memory_order_relaxed)) + 1;
  p.gate.store((number << kJobShift) | (static_cast<Gate>(threads - 1) << kLimitShift) | kOpen,
               std::memory_order_release);
  p.gate.notify_all();
  take_tasks(p);
  Gate gate = p.gate.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  for (int spins = 0; active(gate) != 0; gate = p.gate.load(std::memory_order_acquire)) {
    if (++spins < kSpins) {
      _mm_pause();
    } else {
      p.gate.wait(gate, std::memory_order_acquire);
    }
  }
}

}  // namespace hone::kernels
