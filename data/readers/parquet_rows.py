"""Prints the rows of Parquet files as JSON, one a line: hone's reader for them, in a process apart.

Started by `hone data import`: parquet_rows.py FILE.parquet ... Ends with exit code 3 and one line on
standard error where it cannot read. Holds one batch of rows in memory.
"""
import datetime
import decimal
import json
import math
import sys

ROWS_AT_ONCE = 1024


def plain(value):
    """The value with what JSON has: NaN and infinity are null, bytes text, times ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    return value


def main():
    try:
        import pyarrow.parquet
    except ImportError:
        leave(f"reading Parquet needs pyarrow: {sys.executable} -m pip install pyarrow")
    for path in sys.argv[1:]:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                    for row in batch.to_pylist():
                        sys.stdout.write(json.dumps(plain(row)) + "\n")
        except (pyarrow.ArrowException, OSError) as error:
            leave(f"{path}: not readable as Parquet: {' '.join(str(error).split())}")


def leave(line):
    sys.stdout.flush()
    print(line, file=sys.stderr)
    sys.exit(3)


if __name__ == "__main__":
    main()
