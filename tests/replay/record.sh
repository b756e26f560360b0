#!/bin/sh
# Makes tests/replay/demo.recording anew: sh tests/replay/record.sh RPROF, as root.
# The programs are built and run in /tmp/demo and told nothing of who runs them, so that the
# recording holds nothing of the machine that it was made on; what the kernel says is taken out.
# After it: RPROF_BLESS=1 cargo test --test replay, and look at what changed.
set -eu
rprof=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
rm -rf /tmp/demo
mkdir /tmp/demo
cp "$here"/demo.cc "$here"/plain.c "$here"/pastel.rs /tmp/demo
cd /tmp/demo
gcc -O2 -fno-omit-frame-pointer -fno-optimize-sibling-calls -fvisibility=hidden -shared -fPIC -s \
	-o libplain.so plain.c
g++ -g -O2 -fno-omit-frame-pointer -fno-optimize-sibling-calls -o demo demo.cc -pthread \
	-L. -lplain -Wl,-rpath,/tmp/demo
rustc -g -O -C force-frame-pointers=yes pastel.rs
"$rprof" record -F 99 -o demo.recording -- ./demo
sqlite3 demo.recording "
	UPDATE meta SET value = json_set(value, '\$.host', 'example', '\$.kernel', '6.12.0',
		'\$.start', 1795248000000000000) WHERE key = 'info';
	VACUUM;"
cp demo.recording "$here"/demo.recording
