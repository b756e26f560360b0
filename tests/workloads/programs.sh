#!/bin/sh
# programs.sh NAME FOLDER: a real program at real work, over and over until it is ended. FOLDER is
# its own to write to. It first makes what the program works on, and leaves a file `ready` then.
set -eu
name=$1 folder=$2 here=$(cd "$(dirname "$0")" && pwd)
cd "$folder"

# Machine code: it compresses neither well nor badly.
text() {
	cat /bin/bash /bin/tar /usr/bin/git | head -c "$1" >text
}

forever() {
	touch ready
	while :; do
		"$@" >/dev/null 2>&1 || sleep 0.1 # what it needs may still be starting
	done
}

case $name in
xz) text 4000000 && forever xz -kcT2 -6 text ;;
zstd) text 4000000 && forever zstd -qkc -17 text ;;
gzip) text 4000000 && forever gzip -9kc text ;;
sqlite3)
	forever sqlite3 :memory: 'create table t(a, b, c);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
			insert into t select i, i * 7919 % 10007, hex(randomblob(8)) from n;
		create index ib on t(b);
		select count(*) from (select b, group_concat(c) from t group by b order by 2);'
	;;
openssl) forever openssl speed -seconds 2 sha256 ecdsap256 ;;
python3)
	forever python3 -I -c '
import json, re, time
d = {str(i): [i] * 20 for i in range(300)}
while time.process_time() < 5:
    s = json.dumps(d); json.loads(s); re.findall("[0-9]+", s)
    sorted(s.split(","), key=lambda a: a[::-1])'
	;;
redis-server)
	redis-server --port 0 --unixsocket "$folder/socket" --save '' --dir "$folder" >/dev/null &
	forever redis-benchmark -s "$folder/socket" -q -n 20000 -c 10 -t set,get,lpush,lrange_100,zadd,hset
	;;
node) forever node "$here/stacks.js" 20 ;;
java)
	javac -d "$folder" "$here/Stacks.java"
	# It runs until its standard input ends.
	forever java -XX:+PreserveFramePointer -cp "$folder" Stacks 20
	;;
git)
	git init -q repository
	# A history from a stream, which is quicker than that many commits.
	for commit in $(seq 60); do
		printf 'commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nm\n'
		seq "$commit" 3 9000 >lines
		printf 'M 644 inline file\ndata %d\n' "$(wc -c <lines)"
		cat lines && echo
	done | git -C repository fast-import --quiet
	forever git -C repository repack -adfq --depth=50 --window=100
	;;
cargo)
	mkdir src
	printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' >Cargo.toml
	printf 'fn main() { let mut a: Vec<String> = std::env::args().collect(); a.sort(); println!("{a:?}"); }\n' \
		>src/main.rs
	export CARGO_TARGET_DIR="$folder/target"
	forever sh -c 'rm -rf target; cargo build -q --release --offline'
	;;
go)
	export GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' GOPROXY=off GOCACHE="$folder/cache"
	go build -o stacks-go "$here/stacks.go"
	forever ./stacks-go 20
	;;
c++)
	g++ -O2 -fomit-frame-pointer -o stacks-c++ "$here/stacks.cpp"
	forever ./stacks-c++ sort 20
	;;
c++-throw)
	g++ -O2 -fomit-frame-pointer -o stacks-throw "$here/stacks.cpp"
	forever ./stacks-throw throw 20
	;;
*)
	echo "programs.sh: no program $name" >&2
	exit 2
	;;
esac
