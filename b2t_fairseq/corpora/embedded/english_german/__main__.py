"""Writes the embedded English-German corpus into a folder."""

from __future__ import annotations

import argparse
import sys

from . import SPLIT_SIZES, write


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m b2t_fairseq.corpora.embedded.english_german", description=__doc__)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for train, val and test (.en and .de)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus (default: 1)")
    options = parser.parse_args(arguments)
    try:
        write(options.output, options.seed)
    except OSError as error:
        print(f"--output {options.output}: cannot be written ({error.strerror}); name another folder.", file=sys.stderr)
        return 1
    counts = ", ".join(f"{size:,} {split}" for split, size in SPLIT_SIZES.items())
    print(f"{options.output}: {counts} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
