#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <deque>

#include "base/error.h"
#include "base/options.h"

namespace hone {

struct Command::State {
  std::shared_ptr<CLI::App> app;
  std::string path;  // "hone data make"
  std::function<int()> run;
  std::vector<std::unique_ptr<Command>> verbs;
};

Command::Command(const std::string& meaning, const std::string& version)
    : state_(std::make_unique<State>()) {
  state_->app = std::make_shared<CLI::App>(meaning, "hone");
  state_->path = "hone";
  state_->app->set_version_flag("--version", "hone " + version);
  state_->app->set_help_flag("-h,--help", "print this help and leave");
}

Command::Command(std::unique_ptr<State> state) : state_(std::move(state)) {}
Command::~Command() = default;

Command& Command::verb(const std::string& name, const std::string& meaning) {
  auto child = std::make_unique<State>();
  // A subcommand belongs to its parent, which outlives this handle to it.
  child->app =
      std::shared_ptr<CLI::App>(state_->app->add_subcommand(name, meaning), [](CLI::App*) {});
  child->path = state_->path + " " + name;
  state_->verbs.push_back(std::unique_ptr<Command>(new Command(std::move(child))));
  return *state_->verbs.back();
}

void Command::argument(const std::string& name, std::string& value, const std::string& meaning) {
  state_->app->add_option(name, value, meaning)->required();
}

void Command::arguments(const std::string& name, std::vector<std::string>& values,
                        const std::string& meaning, bool required) {
  state_->app->add_option(name, values, meaning)->required(required);
}

void Command::option(const std::string& names, std::string& value, const std::string& meaning,
                     bool required) {
  CLI::Option* o = state_->app->add_option(names, value, meaning)->required(required);
  if (!value.empty()) o->capture_default_str();
}

void Command::option(const std::string& names, int64_t& value, const std::string& meaning) {
  state_->app->add_option(names, value, meaning)->capture_default_str();
}

void Command::option(const std::string& names, double& value, const std::string& meaning) {
  state_->app->add_option(names, value, meaning)->capture_default_str();
}

void Command::option(const std::string& names, std::vector<std::string>& values,
                     const std::string& meaning, bool required) {
  state_->app->add_option(names, values, meaning)->required(required);
}

void Command::option(const std::string& names, std::vector<int64_t>& values,
                     const std::string& meaning) {
  state_->app->add_option(names, values, meaning)->delimiter(',');
}

void Command::flag(const std::string& names, bool& value, const std::string& meaning) {
  state_->app->add_flag(names, value, meaning);
}

void Command::footer(const std::string& text) { state_->app->footer(text); }

void Command::action(std::function<int()> run) { state_->run = std::move(run); }

const Command* Command::chosen() const {
  for (const auto& verb : state_->verbs) {
    if (verb->state_->app->parsed()) return verb->chosen();
  }
  return this;
}

int Command::run(int argc, char** argv) {
  std::string wrong;
  try {
    state_->app->parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return state_->app->exit(done);
  } catch (const CLI::ParseError& error) {
    wrong = error.what();
    wrong = wrong.substr(0, wrong.find('\n'));
  }
  const Command* verb = chosen();
  const State& state = *verb->state_;
  if (wrong.empty() && state.run) return state.run();

  if (!state.run) {  // no verb, or one that does not exist
    const std::vector<std::string> rest = state.app->remaining();
    std::vector<std::string> names;
    std::string all;
    for (const auto& v : state.verbs) {
      names.push_back(v->state_->app->get_name());
      all += (all.empty() ? "" : ", ") + names.back();
    }
    std::string word;
    for (const std::string& r : rest) {
      if (word.empty() && !r.starts_with("-")) word = r;
    }
    if (!word.empty()) {
      const std::string near = nearest_word(word, names);
      throw UserError(cat(state.path, ": unknown verb '", word, "'",
                          near.empty() ? "" : "; did you mean '" + near + "'?",
                          " (there are: ", all, ")"));
    }
    if (wrong.empty()) {
      throw UserError(cat(state.path, ": expected a verb: ", all, " (", state.path, " --help)"));
    }
  }
  throw UserError(cat(state.path, ": ", wrong, " (", state.path, " --help)"));
}

}  // namespace hone
