// The C interface of libhone_spm.so, and nothing of sentencepiece. The library is not linked but
// loaded (src/text/sentencepiece.cpp).
#pragma once

#include <cstddef>

#define HONE_SPM_EXPORT __attribute__((visibility("default")))

enum { HONE_SPM_TEXT, HONE_SPM_UNKNOWN, HONE_SPM_CONTROL, HONE_SPM_BYTE, HONE_SPM_UNUSED };

extern "C" {

// Functions that can fail write a message to `error`; load returns null, the others non-zero.
HONE_SPM_EXPORT void* hone_spm_load(const char* bytes, size_t size, char* error, size_t error_size);
HONE_SPM_EXPORT void hone_spm_free(void* model);
HONE_SPM_EXPORT int hone_spm_size(const void* model);
HONE_SPM_EXPORT const char* hone_spm_piece(const void* model, int id);
HONE_SPM_EXPORT float hone_spm_score(const void* model, int id);
HONE_SPM_EXPORT int hone_spm_kind(const void* model, int id);
HONE_SPM_EXPORT void hone_spm_special(const void* model, int ids[4]);  // unk, bos, eos, pad or -1
HONE_SPM_EXPORT int hone_spm_encode(const void* model, const char* text, size_t size,
                                    void (*emit)(void* context, int id), void* context);
HONE_SPM_EXPORT int hone_spm_train(const char* const* texts, const size_t* sizes, size_t count,
                                   const char* const* keys, const char* const* values,
                                   size_t options,
                                   void (*emit)(void* context, const char* bytes, size_t size),
                                   void* context, char* error, size_t error_size);
}
