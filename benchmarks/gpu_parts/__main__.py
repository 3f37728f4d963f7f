"""One part in this process: `python -m gpu_parts PART [options] --until TIME`, started by `benchmarks/gpu.py`."""

import argparse
import sys
from importlib import import_module

import torch
from transformers.utils import logging

from gpu_parts.board import Board
from gpu_parts.options import PARTS, Options, add_options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[part.name for part in PARTS])
    add_options(parser)
    parser.add_argument("--until", type=float, required=True, help="when it is killed, in seconds since the epoch")
    arguments = parser.parse_args()
    options = Options.of(arguments)
    if options.shape != "tiny" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} finds no CUDA device here, which --shape {options.shape} needs; try tiny")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    board = Board(arguments.part, options, arguments.until)
    with board.attempted(arguments.part):
        import_module(f"gpu_parts.{arguments.part}").measure(options, board)
    sys.exit(len(board.failures) > 0)


if __name__ == "__main__":
    main()
