// As if built against a hone to come: nothing but the version may be looked at.
#include "rewards/plugin.h"

extern "C" const HonePluginReward hone_reward_any;
const HonePluginReward hone_reward_any = {
    {HONE_PLUGIN_VERSION + 1, nullptr, nullptr, nullptr, {}}, nullptr, nullptr};
