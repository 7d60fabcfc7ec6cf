// As if built with the old strings of libstdc++.
#include "rewards/plugin.h"

extern "C" const HonePluginReward hone_reward_any;
const HonePluginReward hone_reward_any = {{HONE_PLUGIN_VERSION,
                                           "0.1.0",
                                           "libstdc++ with _GLIBCXX_USE_CXX11_ABI=0",
                                           HONE_JSON_LIBRARY,
                                           {}},
                                          nullptr,
                                          nullptr};
