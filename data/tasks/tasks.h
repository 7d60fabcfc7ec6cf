// The tasks that there are; registry.cpp lists them.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/tasks/task_options.h"

namespace hone {

// Each reads its options; make_task reports those that nobody read.
std::unique_ptr<Task> make_sum(TaskOptions& options);
std::unique_ptr<Task> make_multiply(TaskOptions& options);
std::unique_ptr<Task> make_countdown(TaskOptions& options);

// "a+b=c" with one to four digits each.
std::string add_drill(Rng& rng);

}  // namespace hone
