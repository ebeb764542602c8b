#!/bin/sh
# How long pare-convert takes beside a copy of the same bytes: see bench/convert_speed.py.
exec python3 "$(dirname "$0")/convert_speed.py" "$@"
