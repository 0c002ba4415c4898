#!/bin/sh
# What the browser tests and `explore.py --screenshot` need, on Debian or Ubuntu: Chromium, and
# fonts that have the signs of mathematics. Does nothing where there is a Chromium already.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" > /dev/null; then
        echo "$("$name" --version 2> /dev/null || echo "$name") is here"
        exit 0
    fi
done
if ! command -v apt-get > /dev/null; then
    echo "no apt-get here: install Chromium or Chrome by hand" >&2
    exit 1
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -q
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends \
    chromium fonts-dejavu-core fonts-inter
chromium --version
