// Digests: MD5 for the published split of the synthetic tasks, SHA-256 for provenance and
// checkpoint checksums. Hexadecimal, lower case.
#pragma once

#include <string>
#include <string_view>

namespace hone {

std::string md5_hex(std::string_view bytes);     // RFC 1321
std::string sha256_hex(std::string_view bytes);  // FIPS 180-4
// SHA-256 of a file's bytes; throws UserError if it cannot be read.
std::string sha256_file(const std::string& path);

}  // namespace hone
