// The verbs. Each stands in a file of its name: options, then what it does.
#pragma once

#include "cli/command.h"

namespace hone {

void add_train(Command& hone);
void add_sample(Command& hone);
void add_chat(Command& hone);
void add_eval(Command& hone);
void add_score(Command& hone);
void add_tokenize(Command& hone);
void add_logprobs(Command& hone);
void add_loss(Command& hone);
void add_plan(Command& hone);
void add_data(Command& hone);
void add_data_import(Command& data);
void add_data_check(Command& data);
void add_data_filter(Command& data);
void add_recipe(Command& hone);
void add_export(Command& hone);
void add_report(Command& hone);
void add_show(Command& hone);
void add_bench(Command& hone);
void add_doctor(Command& hone);

}  // namespace hone
