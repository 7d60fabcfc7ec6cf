// For a reward in a shared library of one's own: rewards/examples/plugin is a complete one.
//
//   std::unique_ptr<hone::Rewarder> make_shout(const hone::RewardSpec& spec);
//   HONE_REWARD(shout, make_shout, "least", "most")  // after it the options that spec may have
//
// makes plugin:PATH.so:shout?least=2. hone loads the library into a process of its own, never into
// the trainer, and only if both were compiled against the same interface (HonePluginAbi). Of a
// Completion it fills text, tokens and finish_reason.
#pragma once

#include <memory>

#include "rewards/reward.h"

#ifndef HONE_VERSION
#define HONE_VERSION "unknown"
#endif
#define HONE_PLUGIN_VERSION 1  // changes with any change of meaning in reward.h or types.h
#ifdef __GLIBCXX__
#define HONE_STANDARD_LIBRARY \
  "libstdc++ with _GLIBCXX_USE_CXX11_ABI=" HONE_TEXT(_GLIBCXX_USE_CXX11_ABI)
#else
#define HONE_STANDARD_LIBRARY "a standard library that is not libstdc++"
#endif
#define HONE_TEXT(x) HONE_TEXT_OF(x)
#define HONE_TEXT_OF(x) #x
#define HONE_JSON_LIBRARY                                                \
  "nlohmann-json " HONE_TEXT(NLOHMANN_JSON_VERSION_MAJOR) "." HONE_TEXT( \
      NLOHMANN_JSON_VERSION_MINOR) "." HONE_TEXT(NLOHMANN_JSON_VERSION_PATCH)

extern "C" {

// What both sides must agree on. Plain C: it is read before anything else is trusted. Fields are
// only ever added at the end.
struct HonePluginAbi {
  unsigned version;
  const char* hone;
  const char* standard_library;
  const char* json_library;
  unsigned long sizes[5];  // Problem, Completion, Score, RewardItem, RewardSpec
};

// One reward of a library: its symbol hone_reward_NAME.
struct HonePluginReward {
  HonePluginAbi abi;
  // A hone::Rewarder* that the caller takes, from a const hone::RewardSpec*.
  void* (*make)(const void* spec);
  const char* const* options;  // ends with a null pointer
};

}  // extern "C"

#define HONE_PLUGIN_ABI                                                            \
  {                                                                                \
    HONE_PLUGIN_VERSION, HONE_VERSION, HONE_STANDARD_LIBRARY, HONE_JSON_LIBRARY, { \
      sizeof(hone::Problem), sizeof(hone::Completion), sizeof(hone::Score),        \
          sizeof(hone::RewardItem), sizeof(hone::RewardSpec)                       \
    }                                                                              \
  }

// `name` is a word, `factory` a function from const RewardSpec& to std::unique_ptr<Rewarder>. A
// library may have several rewards, in several files.
#define HONE_REWARD(name, factory, ...)                                                          \
  static const char* const hone_options_of_##name[] = {__VA_ARGS__ __VA_OPT__(, ) nullptr};      \
  static void* hone_make_##name(const void* spec) {                                              \
    std::unique_ptr<hone::Rewarder> made = factory(*static_cast<const hone::RewardSpec*>(spec)); \
    return made.release();                                                                       \
  }                                                                                              \
  extern "C" __attribute__((visibility("default"))) const HonePluginReward hone_reward_##name;   \
  const HonePluginReward hone_reward_##name = {HONE_PLUGIN_ABI, hone_make_##name,                \
                                               hone_options_of_##name};
