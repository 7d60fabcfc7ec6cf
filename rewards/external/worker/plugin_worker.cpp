// hone-reward-worker PATH.so NAME OPTIONS: loads a user's shared library and scores with it, one
// line of JSON in, one line out. A program of its own, without LibTorch: it starts in milliseconds,
// and what the library does to its process, it does not do to the trainer.

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <thread>

#include "base/error.h"
#include "base/options.h"
#include "rewards/external/protocol.h"
#include "rewards/plugin.h"

namespace hone {
namespace {

// The two pipes to hone, out of the way of whatever the library prints or reads.
struct Pipes {
  std::FILE* requests;
  std::FILE* replies;
};

Pipes take_pipes() {
  const Pipes pipes{fdopen(fcntl(0, F_DUPFD_CLOEXEC, 3), "r"),
                    fdopen(fcntl(1, F_DUPFD_CLOEXEC, 3), "w")};
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, 0);
  close(nothing);
  dup2(2, 1);
  return pipes;
}

void reply(const Pipes& pipes, const Json& value) {
  const std::string line = to_line(value) + "\n";
  std::fwrite(line.data(), 1, line.size(), pipes.replies);
  std::fflush(pipes.replies);
}

// Sees the end of hone even while the library is busy.
void leave_with_hone(int pipe) {
  pollfd poll_for{pipe, 0, 0};  // hang-up is always told
  while (poll(&poll_for, 1, -1) < 0) {
  }
  _exit(0);
}

void check_abi(const std::string& path, const HonePluginAbi& theirs) {
  static const HonePluginAbi ours = HONE_PLUGIN_ABI;
  const auto refuse = [&](const auto& what, const auto& found, const auto& expected) {
    throw UserError(cat(path, " was compiled for another hone: ", what, " is ", found,
                        ", expected ", expected, "; build it again against this hone"));
  };
  // In this order: the later ones can be read only if the first agrees.
  if (theirs.version != ours.version) {
    refuse("the version of the plug-in interface", theirs.version, ours.version);
  }
  if (std::strcmp(theirs.standard_library, ours.standard_library) != 0) {
    refuse("its standard library", theirs.standard_library, ours.standard_library);
  }
  if (std::strcmp(theirs.json_library, ours.json_library) != 0) {
    refuse("its JSON library", theirs.json_library, ours.json_library);
  }
  const char* names[] = {"Problem", "Completion", "Score", "RewardItem", "RewardSpec"};
  for (size_t i = 0; i < std::size(names); ++i) {
    if (theirs.sizes[i] == ours.sizes[i]) continue;
    refuse(cat("the size of hone::", names[i], " (it was built with hone ", theirs.hone,
               ", this is ", ours.hone, ")"),
           theirs.sizes[i], ours.sizes[i]);
  }
}

RewardSpec spec_of(const std::string& name, const std::string& options,
                   const HonePluginReward& reward) {
  RewardSpec spec;
  spec.name = name;
  std::vector<std::string> known;
  for (const char* const* option = reward.options; *option; ++option) known.push_back(*option);
  std::string all = "timeout, workers, batch, weight, as, when";
  for (const std::string& option : known) all += ", " + option;
  const Json given = Json::parse(options);
  for (const auto& [key, value] : given.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string near = nearest_word(key, known);
      throw UserError(cat("unknown option '", key, "'",
                          near.empty() ? "" : "; did you mean '" + near + "'?",
                          " (there are: ", all, ")"));
    }
    spec.options[key] = value.get<std::string>();
  }
  return spec;
}

std::unique_ptr<Rewarder> load(const std::string& path, const std::string& name,
                               const std::string& options) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw UserError(cat("cannot load it: ", dlerror()));
  const std::string symbol = "hone_reward_" + name;
  const auto* reward = static_cast<const HonePluginReward*>(dlsym(library, symbol.c_str()));
  if (!reward) {
    throw UserError(cat(path, " has no reward '", name, "': no HONE_REWARD(", name, ", ...)"));
  }
  check_abi(path, reward->abi);
  const RewardSpec spec = spec_of(name, options, *reward);
  std::unique_ptr<Rewarder> made(static_cast<Rewarder*>(reward->make(&spec)));
  if (!made) throw UserError(cat("its factory of '", name, "' returned no rewarder"));
  return made;
}

Json answer(Rewarder& rewarder, const Json& request) {
  ReceivedBatch batch;
  receive_batch(request, batch);
  Json answer = {{"call", request.at("call")}};
  try {
    answer["scores"] = Json::array();
    for (const Score& score : rewarder.score(batch.items)) {
      answer["scores"].push_back(score_json(score));
    }
  } catch (const std::exception& error) {
    return {{"call", request.at("call")}, {"error", error.what()}};
  } catch (...) {
    return {{"call", request.at("call")}, {"error", "an exception that is no std::exception"}};
  }
  return answer;
}

int serve(const std::string& path, const std::string& name, const std::string& options) {
  const Pipes pipes = take_pipes();
  std::thread(leave_with_hone, fileno(pipes.requests)).detach();
  std::unique_ptr<Rewarder> rewarder;
  try {
    rewarder = load(path, name, options);
  } catch (const std::exception& error) {
    reply(pipes, {{"failed", error.what()}});
    return 1;
  }
  reply(pipes, {{"ready", true}});
  char* line = nullptr;
  size_t room = 0;
  while (getline(&line, &room, pipes.requests) > 0) {
    reply(pipes, answer(*rewarder, Json::parse(line)));
  }
  std::cout.flush();
  std::fflush(nullptr);
  _exit(0);  // threads that the library started must not keep the process
}

}  // namespace
}  // namespace hone

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "hone-reward-worker: started by hone for plugin:PATH.so:NAME\n");
    return 2;
  }
  return hone::serve(argv[1], argv[2], argv[3]);
}
