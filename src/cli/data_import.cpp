// hone data import: files of others as rows of hone's own.
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "data/readers/csv.h"
#include "data/readers/formats.h"
#include "data/readers/row.h"
#include "data/readers/row_reader.h"
#include "rewards/external/process.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct Options {
  std::vector<std::string> files;
  std::string format = "auto", out, python;
  OutputOptions output;
};

bool is_parquet(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  char magic[4] = {};
  return in.read(magic, 4) && std::string_view(magic, 4) == "PAR1";
}

// "train-00003-of-00007.parquet" is a shard of "train"; other names stand for themselves.
std::string set_of(const fs::path& shard) {
  const std::string name = shard.stem().string();
  const size_t of = name.rfind("-of-");
  const size_t dash = of == std::string::npos || of == 0 ? of : name.rfind('-', of - 1);
  return dash == std::string::npos ? "" : name.substr(0, dash);
}

// The shards of a directory by name: its Parquet files, else its JSONL, JSON or CSV files.
std::vector<std::string> shards_of(const std::string& directory) {
  std::vector<std::string> found;
  for (const char* extension : {".parquet", ".jsonl", ".json", ".csv"}) {
    if (!found.empty()) break;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.is_regular_file() && entry.path().extension() == extension) {
        found.push_back(entry.path().string());
      }
    }
  }
  if (found.empty()) {
    throw UserError(cat(directory, ": expected .parquet, .jsonl, .json or .csv files, found none"));
  }
  std::sort(found.begin(), found.end());
  std::set<std::string> sets;
  for (const std::string& path : found) sets.insert(set_of(path));
  if (sets.size() > 1) {
    std::string all;
    for (const std::string& set : sets) all += (all.empty() ? "" : ", ") + set;
    throw UserError(cat(directory, ": expected the shards of one set, found those of ", all,
                        "; name the files: ", directory, "/", *sets.rbegin(), "-*"));
  }
  return found;
}

std::vector<std::string> input_files(const std::vector<std::string>& given) {
  std::vector<std::string> files;
  for (const std::string& name : given) {
    const std::string path = find_path(name);
    std::error_code ec;
    if (fs::is_directory(path, ec)) {
      for (std::string& shard : shards_of(path)) files.push_back(std::move(shard));
    } else {
      files.push_back(path);
    }
  }
  return files;
}

std::string python_of(const Options& o) {
  if (!o.python.empty()) return o.python;
  const char* environment = std::getenv("VIRTUAL_ENV");
  return environment && *environment ? cat(environment, "/bin/python") : "python3";
}

// Calls row(number, text) for each row of a Parquet file, which pyarrow reads in a process apart.
void for_each_parquet_row(const std::string& path, const std::string& python,
                          const std::function<void(int64_t, const std::string&)>& row) {
  const std::string script = data_root() + "/data/readers/parquet_rows.py";
  WorkerProcess worker({python, script, fs::absolute(path).string()});
  int64_t number = 0;
  while (!worker.closed()) {
    std::vector<pollfd> ends;
    worker.wait_for(ends);
    ::poll(ends.data(), ends.size(), -1);
    worker.pump();
    while (const auto line = worker.take_line()) row(++number, *line);
  }
  const ProcessEnd end = worker.finish();
  while (const auto line = worker.take_line()) row(++number, *line);
  if (end.code == 0 && end.signal == 0) return;
  const std::string words = worker.last_words();
  if (end.code == 3) throw UserError(words);
  throw RunError(cat(path, ": its reader, ", python, " ", script, ", ", end.words(), ": ", words));
}

// The id of a row that cannot be read, if it can be seen.
Json id_of(const std::string& text, int64_t number) {
  constexpr int kMaxDepth = 100;
  if (nested_deeper(text, kMaxDepth)) return number;
  const Json row = Json::parse(text, nullptr, false);
  return row.is_object() && row.contains("id") ? row["id"] : Json(number);
}

int run(const Options& o) {
  Display display(begin_output(o.output));
  const std::string format = format_name(o.format);
  const std::vector<std::string> files = input_files(o.files);
  RowWriter writer(o.out);
  int64_t rows = 0, errors = 0;
  std::string first_error;
  const auto malformed = [&](const Json& id, const std::string& error) {
    if (++errors == 1) first_error = error;
    writer.write(to_line({{"id", id}, {"error", error}}));
  };
  const auto take = [&](const std::string& path, int64_t number, const std::string& text) {
    ++rows;
    if (rows % 4096 == 0) display.progress("importing", rows, 0);
    try {
      Row row = read_row(text, format, path, number);
      if (kind_of(row) == RowKind::problem) {
        problem_of(row);
      } else {
        document_of(row);
      }
      const auto id = row.fields.find("id");
      const bool own_id = id != row.fields.end() && !id->is_null();
      Json out = {{"id", own_id ? *id : Json(rows)}, {"data_source", row.source}};
      for (auto& [key, value] : row.fields.items()) {
        if (!out.contains(key)) out[key] = std::move(value);
      }
      writer.write(to_line(out));
    } catch (const UserError& error) {
      malformed(id_of(text, rows), error.what());
    }
  };
  for (const std::string& path : files) {
    const std::string extension = fs::path(path).extension().string();
    if (is_parquet(path) || extension == ".parquet") {
      for_each_parquet_row(path, python_of(o), [&](int64_t number, const std::string& text) {
        take(path, number, text);
      });
    } else if (extension == ".csv" || extension == ".tsv") {
      for_each_csv_row(
          path, extension == ".csv" ? ',' : '\t',
          [&](int64_t number, const Json& row) { take(path, number, to_line(row)); },
          [&](int64_t number, const std::string& error) {
            malformed(++rows, cat(path, ":", number, ": ", error));
          });
    } else {
      for_each_row(path, [&](const RowText& row) { take(path, row.number, row.text); });
    }
  }
  if (rows == 0) throw UserError(cat(o.files.front(), ": expected rows, found none"));
  if (errors == rows) {
    throw UserError(cat(o.files.front(), ": no row could be read; ", first_error));
  }
  writer.finish();
  display.note(cat("imported ", rows - errors, " of ", rows, " rows from ", files.size(),
                   files.size() == 1 ? " file" : " files"));
  print_result(o.output, {{"rows", rows}, {"errors", errors}, {"out", o.out}});
  if (errors == 0) return 0;
  log_error(cat(errors, " of ", rows, " rows malformed; ", first_error));
  return 1;
}

}  // namespace

void add_data_import(Command& data) {
  static Options o;
  Command& c = data.verb("import", "rows of public data sets as hone's own");
  c.arguments("FILE", o.files,
              "JSONL, JSON array, CSV, TSV or Parquet; or a directory of shards of one set", true);
  c.option("--as", o.format, "auto, or the format of the rows (hone data list)");
  c.option("--out", o.out, "JSONL file, - for standard output", true);
  c.option("--python", o.python,
           "a Python with pyarrow, for Parquet; default: $VIRTUAL_ENV/bin/python, else python3");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
