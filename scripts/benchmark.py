"""Time and memory against stated references: `python scripts/benchmark.py loss`, and --help for the rest."""

import argparse

from benchmarking import cache, data, loss, scale, train

SUBJECTS = {"cache": cache, "data": data, "loss": loss, "scale": scale, "train": train}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="subject", required=True)
    for name, subject in SUBJECTS.items():
        subject.add_arguments(commands.add_parser(name, help=subject.__doc__))
    options = parser.parse_args()
    SUBJECTS[options.subject].run(options)


if __name__ == "__main__":
    main()
