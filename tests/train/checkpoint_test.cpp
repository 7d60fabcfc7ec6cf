#include "train/checkpoint.h"

#include <ATen/ATen.h>
#include <sys/resource.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "small_trainer.h"
#include "tests/temporary.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;
using testing::trainable_model;

OptimizerOptions with(MomentForm moments) {
  OptimizerOptions o;
  o.moments = moments;
  return o;
}

struct Trained {
  std::unique_ptr<Transformer> model;
  Optimizer optimizer;
  at::Tensor reference;

  explicit Trained(uint64_t seed, MomentForm moments = MomentForm::float32)
      : model(trainable_model(seed)),
        optimizer(with(moments), model->weights()),
        reference(at::randn({model->weights().numel()})) {}
  void learn() {
    model->weights().grad().copy_(at::randn({model->weights().numel()}));
    optimizer.step(1e-2);
  }
  NamedTensors more() { return {{"reference", reference}}; }
  void save(const std::string& directory, int64_t step, int64_t keep = 5) {
    CheckpointWriter writer(directory, keep);
    writer.save(step, *model, optimizer, more(), {{"sizes", Json::object()}, {"mark", step * 10}},
                "");
    writer.wait();
  }
  auto load(const std::string& directory) {
    return load_checkpoint(directory, *model, optimizer, more());
  }
  // Tensor by tensor: what lies between them in the arena means nothing.
  bool same(Trained& other) {
    bool equal =
        reference.equal(other.reference) && optimizer.updates() == other.optimizer.updates();
    const at::Tensor theirs = other.model->weights().master();
    for (const NamedTensor& t : model->weights().tensors()) {
      equal &= WeightArena::view(model->weights().master(), t).equal(WeightArena::view(theirs, t));
    }
    const auto ours = optimizer.state(), others = other.optimizer.state();
    for (size_t i = 0; i < ours.size(); ++i) equal &= ours[i].second.equal(others[i].second);
    return equal;
  }
};

std::vector<std::string> names(const std::string& directory) {
  std::vector<std::string> found;
  for (const std::string& path : list_checkpoints(directory)) {
    found.push_back(fs::path(path).filename().string());
  }
  return found;
}

}  // namespace

TEST_CASE("a checkpoint brings back weights, moments and counters bit for bit") {
  for (const auto form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form of the moments " << static_cast<int>(form));
    const TemporaryDirectory dir;
    Trained a(1, form), b(2, form);
    a.learn();
    a.learn();
    a.save(dir.path(), 7);
    CHECK_FALSE(a.same(b));
    const auto loaded = b.load(dir.path());
    REQUIRE(loaded);
    CHECK(loaded->state.at("mark") == 70);
    CHECK(loaded->state.at("step") == 7);
    CHECK(a.same(b));
    at::manual_seed(4);
    a.learn();
    at::manual_seed(4);
    b.learn();
    CHECK(a.same(b));  // and they go on alike
  }
}

TEST_CASE("a checkpoint with another form of the moments is passed over") {
  const TemporaryDirectory dir;
  Trained a(1), b(2, MomentForm::int8);
  a.save(dir.path(), 1);
  CHECK_FALSE(b.load(dir.path()));
}

TEST_CASE("the newest whole checkpoint counts, damaged ones are passed over") {
  const std::function<void(const std::string&)> damages[] = {
      [](const std::string& p) { fs::remove(p + "/state.json"); },
      [](const std::string& p) { write_file_atomic(p + "/state.json", "{\"step\": 3"); },
      [](const std::string& p) { write_file_atomic(p + "/state.json", "[]"); },
      [](const std::string& p) {
        Json state = Json::parse(read_file(p + "/state.json"));
        state.erase("updates");
        write_file_atomic(p + "/state.json", state.dump());
      },
      [](const std::string& p) { fs::remove(p + "/optimizer.safetensors"); },
      [](const std::string& p) {
        const std::string weights = p + "/model/model.safetensors";
        fs::resize_file(weights, fs::file_size(weights) - 1);
      },
      [](const std::string& p) {
        std::string bytes = read_file(p + "/optimizer.safetensors");
        bytes[bytes.size() / 2] ^= 1;  // one bit
        write_file_atomic(p + "/optimizer.safetensors", bytes);
      },
      [](const std::string& p) { fs::rename(p, p + ".tmp"); },  // killed before it was in place
  };
  for (size_t i = 0; i < std::size(damages); ++i) {
    INFO("damage " << i);
    const TemporaryDirectory dir;
    Trained a(1), b(2);
    a.learn();
    a.save(dir.path(), 2);
    Trained newer(3);
    newer.learn();
    newer.save(dir.path(), 3);
    damages[i](dir.path() + "/step-000003");
    const auto loaded = b.load(dir.path());
    REQUIRE(loaded);
    CHECK(loaded->state.at("step") == 2);
    CHECK(a.same(b));
  }
}

TEST_CASE("a checkpoint of another model is passed over, and none is none") {
  const TemporaryDirectory dir;
  Trained a(1), b(2);
  CHECK_FALSE(b.load(dir.path()));
  CHECK_FALSE(b.load(dir.path() + "/nowhere"));
  a.reference = at::zeros({3});
  a.save(dir.path(), 1);
  Trained untouched(2);
  CHECK_FALSE(b.load(dir.path()));
  CHECK(b.model->weights().master().equal(untouched.model->weights().master()));
}

TEST_CASE("as many checkpoints stay as are kept, and nothing half done") {
  const TemporaryDirectory dir;
  Trained a(1);
  fs::create_directories(dir.path() + "/step-000001.tmp");
  for (int64_t step = 1; step <= 4; ++step) a.save(dir.path(), step, 2);
  a.save(dir.path(), 4, 2);  // again over itself
  CHECK((names(dir.path()) == std::vector<std::string>{"step-000003", "step-000004"}));
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 2);
}

TEST_CASE("a checkpoint holds the state at its call, not what training makes of it meanwhile") {
  const TemporaryDirectory dir;
  Trained a(1), as_saved(1), b(2);
  as_saved.reference.copy_(a.reference);
  CheckpointWriter writer(dir.path(), 5);
  writer.save(1, *a.model, a.optimizer, a.more(), {{"sizes", Json::object()}}, "");
  for (int i = 0; i < 3; ++i) a.learn();
  writer.wait();
  REQUIRE(b.load(dir.path()));
  CHECK(b.same(as_saved));
}

TEST_CASE("a checkpoint that cannot be written leaves the earlier ones and says so at the end") {
  const TemporaryDirectory dir;
  Trained a(1), b(2);
  a.save(dir.path(), 1);
  // Files of more than 4 KiB cannot be written, as on a full disk.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  CheckpointWriter writer(dir.path(), 1);
  writer.save(3, *a.model, a.optimizer, a.more(), {{"sizes", Json::object()}}, "");
  CHECK_THROWS_AS(writer.wait(), RunError);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK((names(dir.path()) == std::vector<std::string>{"step-000001"}));
  const auto loaded = b.load(dir.path());
  REQUIRE(loaded);
  CHECK(loaded->state.at("step") == 1);
}

TEST_CASE("damaged checkpoints are out of the way of those that are written after them") {
  const TemporaryDirectory dir;
  Trained a(1), b(2);
  a.save(dir.path(), 2, 1);
  write_file_atomic(dir.path() + "/step-000002/state.json", "{}");
  CHECK_FALSE(b.load(dir.path()));
  b.save(dir.path(), 1, 1);
  CHECK((names(dir.path()) == std::vector<std::string>{"step-000001"}));
}

TEST_CASE("a directory is put in place of another whole") {
  const TemporaryDirectory dir;
  for (const char* text : {"first", "second"}) {
    fs::create_directories(dir.path() + "/new.tmp");
    write_file_atomic(dir.path() + "/new.tmp/file", text);
    publish_directory(dir.path() + "/new.tmp", dir.path() + "/place");
    CHECK(read_file(dir.path() + "/place/file") == text);
    CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
  }
}

}  // namespace hone
