// The command line as the verbs see it. CLI11 is behind this because it takes seconds to compile:
// command.cpp alone includes it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace hone {

// One verb, or a verb of a verb. The values that options write to must live until the verb ran.
class Command {
 public:
  // `hone` itself.
  Command(const std::string& meaning, const std::string& version);
  ~Command();

  Command& verb(const std::string& name, const std::string& meaning);

  // Positional, in order.
  void argument(const std::string& name, std::string& value, const std::string& meaning);
  void arguments(const std::string& name, std::vector<std::string>& values,
                 const std::string& meaning, bool required);

  // "--name" or "-n,--name". Without `required` the value keeps its default, which help shows.
  void option(const std::string& names, std::string& value, const std::string& meaning,
              bool required = false);
  void option(const std::string& names, int64_t& value, const std::string& meaning);
  void option(const std::string& names, double& value, const std::string& meaning);
  void option(const std::string& names, std::vector<std::string>& values,
              const std::string& meaning, bool required = false);
  void option(const std::string& names, std::vector<int64_t>& values, const std::string& meaning);
  void flag(const std::string& names, bool& value, const std::string& meaning);
  void footer(const std::string& text);

  // What the verb does; its result is the exit code.
  void action(std::function<int()> run);

  // Reads the arguments and runs the chosen verb. Help and version print and give 0. Throws
  // UserError for a wrong call.
  int run(int argc, char** argv);

 private:
  struct State;
  explicit Command(std::unique_ptr<State> state);
  const Command* chosen() const;
  std::unique_ptr<State> state_;
};

}  // namespace hone
