// Byte-pair encoding: words to token ids.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hone {

struct BpeOptions {
  // The text's bytes are the characters, and tokens are written in byte_level.h's way. Otherwise
  // the characters are those of UTF-8.
  bool byte_characters = false;
  bool byte_fallback = false;  // an unknown character becomes tokens <0x00> to <0xFF>
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  bool ignore_merges = false;  // a word that is a token is that token
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix, end_of_word_suffix;
};

// The tokens of words seen lately and room to work in. One thread uses it at a time.
class BpeScratch {
 public:
  BpeScratch();

 private:
  friend class Bpe;
  static constexpr size_t kCached = 1 << 15;
  struct Entry {  // 64 bytes
    char word[26];
    uint8_t size = 0;  // 0: empty
    uint8_t count = 0;
    int32_t ids[9];
  };
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // -1: none
    bool live;
  };
  std::unique_ptr<Entry[]> entries_;
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> heap_;  // rank << 32 | position
  std::vector<std::pair<uint32_t, int32_t>> ranked_;
};

class Bpe {
 public:
  using Vocab = std::unordered_map<std::string, int32_t>;
  using Merge = std::pair<std::string, std::string>;

  // Throws UserError, which begins with `where`, if a merge or the unknown token is not in the
  // vocabulary.
  Bpe(const Vocab& vocab, const std::vector<Merge>& merges, const BpeOptions& options,
      const std::string& where);

  // Appends the ids of one word.
  void encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Slot {
    uint64_t pair = UINT64_MAX;
    uint32_t rank = 0;
    int32_t id = 0;
  };
  const Slot* find_merge(int32_t left, int32_t right) const;
  void add_merge(int32_t left, int32_t right, uint32_t rank, int32_t id);
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void first_symbols(std::string_view word, std::vector<int32_t>& ids) const;
  void merge_short(BpeScratch& scratch, std::vector<int32_t>& ids, size_t begin) const;
  void merge_long(BpeScratch& scratch, std::vector<int32_t>& ids, size_t begin) const;

  BpeOptions options_;
  std::unordered_map<std::string, int32_t> tokens_;  // in the form in which words come
  std::array<int32_t, 256> byte_ids_;      // of single bytes (byte_characters) or ASCII; -1: none
  std::array<int32_t, 256> fallback_ids_;  // of <0x00> to <0xFF>
  int32_t unk_id_ = -1;
  // No merge joins a U+2581 to another character before it: a text can be cut there.
  bool cuts_at_sign_ = false;
  std::vector<Slot> merges_;  // a hash table with open addressing; its size is a power of two
  size_t mask_ = 0;
};

}  // namespace hone
