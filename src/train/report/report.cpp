#include "train/report/report.h"

#include <cstdint>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "train/report/html.h"
#include "train/report/page.h"

namespace hone {
namespace {

int hex_digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// Base 64 (RFC 4648) of bytes written in hexadecimal.
std::string base64_of_hex(const std::string& hex) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < hex.size(); at += 6) {
    uint32_t block = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < 3; ++i) {
      block <<= 8;
      if (at + 2 * i + 1 >= hex.size()) continue;
      block |=
          static_cast<uint32_t>(hex_digit(hex[at + 2 * i]) << 4 | hex_digit(hex[at + 2 * i + 1]));
      ++bytes;
    }
    for (size_t i = 0; i < 4; ++i) {
      out += i <= bytes ? digits[block >> (18 - 6 * i) & 63] : '=';
    }
  }
  return out;
}

// Runs of the same name are told apart by their directory.
void make_names_unique(std::vector<RunData>& runs) {
  std::map<std::string, int> count;
  for (const RunData& run : runs) ++count[run.name];
  for (RunData& run : runs) {
    if (count[run.name] > 1) run.name += " (" + run.dir + ")";
  }
}

}  // namespace

void write_report(const std::vector<std::string>& run_dirs, const std::string& out_html) {
  if (run_dirs.empty()) throw UserError("report: expected at least one run directory");
  std::vector<RunData> runs;
  for (const std::string& dir : run_dirs) runs.push_back(load_run(dir));
  make_names_unique(runs);
  const bool several = runs.size() > 1;
  const std::string title =
      several ? cat(runs.size(), " runs compared") : html_escape(runs.front().name);

  // Nothing may be fetched and only our script may run, whatever a model wrote.
  const std::string script = report_script();
  const std::string policy =
      cat("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-",
          base64_of_hex(sha256_hex(script)), "'");
  std::string page =
      cat("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"",
          policy,
          "\">"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>",
          title, " \xC2\xB7 hone</title><style>", report_style(),
          "</style></head><body><main>"
          "<p class=\"eyebrow\">hone report</p><h1>",
          title, "</h1>");
  if (!several && !runs.front().brief.empty()) {
    page += cat("<p class=\"lede\">", html_visible(runs.front().brief, 800), "</p>");
  }
  page += headline_html(runs);
  page += summary_html(runs);
  page += findings_html(runs);
  page += charts_html(runs);
  for (const RunData& run : runs) page += samples_html(run, several);
  page += time_html(runs);
  page += figures_html(runs);
  for (const RunData& run : runs) page += provenance_html(run, several);
  page += cat(
      "<footer>Written by hone from the files of the run directory. This page loads nothing from "
      "anywhere.</footer></main><script>",
      script, "</script></body></html>\n");
  write_file_atomic(out_html, page);
}

}  // namespace hone
