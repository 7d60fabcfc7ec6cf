// libhone_spm.so: everything of sentencepiece behind a C interface. It is a library of its own
// because sentencepiece's FLAGS_minloglevel (32 bytes) and libc10's variable of the same name
// (4 bytes) overwrite each other when both are in the global symbol scope; see sentencepiece.cpp.
#include "text/spm/hone_spm.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using sentencepiece::SentencePieceProcessor;

void report(const std::string& message, char* error, size_t error_size) {
  if (error_size > 0) std::snprintf(error, error_size, "%s", message.c_str());
}

const SentencePieceProcessor& processor(const void* model) {
  return *static_cast<const SentencePieceProcessor*>(model);
}

class Texts : public sentencepiece::SentenceIterator {
 public:
  Texts(const char* const* texts, const size_t* sizes, size_t count)
      : texts_(texts), sizes_(sizes), count_(count) {
    read();
  }
  bool done() const override { return index_ >= count_; }
  void Next() override {
    ++index_;
    read();
  }
  const std::string& value() const override { return value_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void read() {
    if (index_ < count_) value_.assign(texts_[index_], sizes_[index_]);
  }
  const char* const* texts_;
  const size_t* sizes_;
  size_t count_, index_ = 0;
  std::string value_;
};

}  // namespace

extern "C" {

void* hone_spm_load(const char* bytes, size_t size, char* error, size_t error_size) {
  auto* model = new SentencePieceProcessor;
  const auto status = model->LoadFromSerializedProto({bytes, size});
  if (!status.ok()) {
    report(status.ToString(), error, error_size);
    delete model;
    return nullptr;
  }
  return model;
}

void hone_spm_free(void* model) { delete static_cast<SentencePieceProcessor*>(model); }

int hone_spm_size(const void* model) { return processor(model).GetPieceSize(); }

const char* hone_spm_piece(const void* model, int id) {
  return processor(model).IdToPiece(id).c_str();
}

float hone_spm_score(const void* model, int id) { return processor(model).GetScore(id); }

int hone_spm_kind(const void* model, int id) {
  const SentencePieceProcessor& p = processor(model);
  if (p.IsUnknown(id)) return HONE_SPM_UNKNOWN;
  if (p.IsControl(id)) return HONE_SPM_CONTROL;
  if (p.IsByte(id)) return HONE_SPM_BYTE;
  if (p.IsUnused(id)) return HONE_SPM_UNUSED;
  return HONE_SPM_TEXT;
}

void hone_spm_special(const void* model, int ids[4]) {
  const SentencePieceProcessor& p = processor(model);
  ids[0] = p.unk_id();
  ids[1] = p.bos_id();
  ids[2] = p.eos_id();
  ids[3] = p.pad_id();
}

int hone_spm_encode(const void* model, const char* text, size_t size,
                    void (*emit)(void* context, int id), void* context) {
  std::vector<int> ids;
  if (!processor(model).Encode({text, size}, &ids).ok()) return 1;
  for (int id : ids) emit(context, id);
  return 0;
}

int hone_spm_train(const char* const* texts, const size_t* sizes, size_t count,
                   const char* const* keys, const char* const* values, size_t options,
                   void (*emit)(void* context, const char* bytes, size_t size), void* context,
                   char* error, size_t error_size) {
  std::unordered_map<std::string, std::string> kwargs;
  for (size_t i = 0; i < options; ++i) kwargs[keys[i]] = values[i];
  Texts iterator(texts, sizes, count);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(kwargs, &iterator, &model);
  if (!status.ok()) {
    report(status.ToString(), error, error_size);
    return 1;
  }
  emit(context, model.data(), model.size());
  return 0;
}

}  // extern "C"
