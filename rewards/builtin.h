// The built-in rewarders: how each is made from its options, and how options are read. The names
// and the allowed options stand in registry.cpp, which rejects any other before it calls these.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rewards/reward.h"

namespace hone {

std::unique_ptr<Rewarder> make_math(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_exact(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_code(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_choice(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_countdown(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_logic(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_format(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_language(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_length(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_repetition(const RewardSpec& spec);
std::unique_ptr<Rewarder> make_random(const RewardSpec& spec);

// The index of the option's value in `values`, of `fallback` if it is not given. Throws UserError.
size_t choice_option(const RewardSpec& spec, const std::string& key,
                     const std::vector<std::string>& values, const std::string& fallback);
// A finite number. Throws UserError.
double number_option(const RewardSpec& spec, const std::string& key, double fallback);

}  // namespace hone
