// hone: chooses the verb and turns what goes wrong into one line and an exit code.
#include <malloc.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "base/error.h"
#include "cli/verbs.h"
#include "train/display.h"

namespace {

// What LibTorch throws carries a backtrace after its first line.
int failed(const std::string& what, int code) {
  const std::string line = what.substr(0, what.find('\n'));
  std::fprintf(stderr, "hone: %s\n", hone::visible_text(line).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace hone;
  // Activations of tens of megabytes come and go with every operation: memory that went back to
  // the kernel each time would be zeroed and mapped again, a quarter of an update's time.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 2147483647);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes: writing fails and says so
  Command hone("GRPO training of language models: from a recipe to a model that reasons.",
               HONE_VERSION);
  add_train(hone);
  add_sample(hone);
  add_chat(hone);
  add_eval(hone);
  add_score(hone);
  add_tokenize(hone);
  add_logprobs(hone);
  add_loss(hone);
  add_plan(hone);
  add_data(hone);
  add_recipe(hone);
  add_export(hone);
  add_report(hone);
  add_show(hone);
  add_bench(hone);
  add_doctor(hone);
  hone.footer(
      "hone VERB --help explains a verb. Exit codes: 0 done, 1 failed under way, 2 wrong "
      "call or input, 130 after Ctrl-C, 143 after SIGTERM.");
  try {
    return hone.run(argc, argv);
  } catch (const UserError& error) {
    return failed(error.what(), 2);
  } catch (const RunError& error) {
    return failed(error.what(), 1);
  } catch (const std::bad_alloc&) {
    return failed("out of memory", 1);
  } catch (const std::exception& error) {
    return failed(error.what(), 1);
  }
}
