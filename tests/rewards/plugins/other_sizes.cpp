// As if built with other settings of the compiler: a Score of another size.
#include "rewards/plugin.h"

extern "C" const HonePluginReward hone_reward_any;
const HonePluginReward hone_reward_any = {
    {HONE_PLUGIN_VERSION,
     "0.0.9",
     HONE_STANDARD_LIBRARY,
     HONE_JSON_LIBRARY,
     {sizeof(hone::Problem), sizeof(hone::Completion), sizeof(hone::Score) + 8,
      sizeof(hone::RewardItem), sizeof(hone::RewardSpec)}},
    nullptr,
    nullptr};
