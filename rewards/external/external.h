// Rewards that a user brings: a C++ shared library, a Python function, any command. All three run
// in worker processes of their own, so that whatever they do costs their own items alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rewards/reward.h"

namespace hone {

std::unique_ptr<Rewarder> make_plugin(const RewardSpec& spec);   // plugin:PATH.so:NAME
std::unique_ptr<Rewarder> make_python(const RewardSpec& spec);   // python:FILE.py:FUNCTION
std::unique_ptr<Rewarder> make_command(const RewardSpec& spec);  // command:CMD

// Whether this is one of the three; their names hold colons.
bool is_external(const std::string& name);
// "is_short" for "python:judge.py:is_short", "command" for a command.
std::string external_short_name(const std::string& name);

// "python:judge.py:is_short?weight=2" -> the name and the text of its options. A question mark
// begins options only if key=value follows, or nothing; so a command may hold others.
struct ExternalText {
  std::string name, options;
};
ExternalText split_external(const std::string& text);

}  // namespace hone
