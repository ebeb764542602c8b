#!/bin/sh
# How fast pare-distill trains beside PyTorch, and in how much memory: see bench/train_speed.py.
exec python3 "$(dirname "$0")/train_speed.py" "$@"
