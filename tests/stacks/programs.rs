//! Real programs under real work, as Debian builds them.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    HZ, LONG, SHORT,
    stacks::{
        Process, Recorder, Recording, Workshop, record, require, require_root, run, wait_until,
    },
};

/// Debian's packages of the programs here and elsewhere in this test.
pub const PACKAGE_OF: [(&str, &str); 15] = [
    ("go", "golang-go"),
    ("node", "nodejs"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("jcmd", "openjdk-17-jdk-headless"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("gzip", "gzip"),
    ("sqlite3", "sqlite3"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("git", "git"),
    ("musl-gcc", "musl-tools"),
];

fn find(program: &str) -> Option<PathBuf> {
    let package = PACKAGE_OF.iter().find(|(name, _)| *name == program);
    require_root().then(|| require(program, package.unwrap().1)).flatten()
}

/// Records a program of Debian's; none if it is missing.
fn record_program(program: &str, args: &[&str]) -> Option<Recording> {
    let path = find(program)?;
    Some(record(HZ, [&[path.to_str().unwrap()], args].concat()))
}

fn assert_long(program: &str, args: &[&str]) {
    if let Some(recording) = record_program(program, args) {
        recording.assert_whole(program, LONG);
    }
}

/// A file of that many bytes that compresses neither well nor badly.
fn text(shop: &Workshop, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 32);
    let mut state = 88172645463325252u64;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{} {:x}\n", state % 997, state >> 40));
    }
    let path = shop.path("text");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn compressors() {
    let shop = Workshop::new();
    assert_long("xz", &["-kc", "-T1", "-3", &text(&shop, 2 << 20)]);
    assert_long("xz", &["-kc", "-T2", "--block-size=1MiB", "-3", &text(&shop, 3 << 20)]);
    assert_long("zstd", &["-qkc", "-T1", "-17", &text(&shop, 1 << 20)]);
    assert_long("gzip", &["-kc", &text(&shop, 8 << 20)]);
}

#[test]
fn sqlite3() {
    let script = "create table t(a, b, c);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 150000)
            insert into t select i, i * 7919 % 10007, hex(randomblob(8)) from n;
        create index ib on t(b);
        select count(*) from (select b, group_concat(c) from t group by b order by 2);
        select count(*) from t x join t y on x.b = y.a where x.c < y.c;";
    assert_long("sqlite3", &[":memory:", script]);
}

#[test]
fn openssl() {
    // In its own process each, or the work is done in children.
    for work in ["rsa2048", "ecdsap256", "sha256", "aes-128-gcm", "chacha20-poly1305"] {
        let algorithm = if work.contains('-') { &["-evp", work][..] } else { &[work] };
        let args = [&["speed", "-seconds", "1"], algorithm].concat();
        if let Some(recording) = record_program("openssl", &args) {
            // The CFA of some of the big numbers' assembly takes two registers.
            let share = if work == "rsa2048" { 0.99 } else { LONG };
            recording.assert_whole(&format!("openssl {work}"), share);
        }
    }
}

/// All of these that there are: Debian's, and what pyenv built.
fn pythons() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let versions = fs::read_dir(Path::new(&home).join(".pyenv/versions"));
    let built = versions.into_iter().flatten().flatten().map(|e| e.path().join("bin/python3"));
    let mut built: Vec<PathBuf> = built.filter(|path| path.is_file()).collect();
    built.sort();
    find("python3").into_iter().chain(built).collect()
}

#[test]
fn python3() {
    let script = "import json, re, time
d = {str(i): [i] * 20 for i in range(300)}
while time.process_time() < 1:
    s = json.dumps(d); json.loads(s); re.findall('[0-9]+', s)
    sorted(s.split(','), key=lambda a: a[::-1])";
    for python in pythons() {
        let recording = record(HZ, [python.to_str().unwrap(), "-I", "-c", script]);
        // Deep imports are cut at 127 frames, which is no failure to unwind.
        let recording = recording.only(|stack| stack.failed.as_deref() != Some("[truncated]"));
        recording.assert_whole(&python.display().to_string(), LONG);
    }
}

#[test]
fn redis_server_under_its_benchmark() {
    let (Some(server), Some(benchmark)) = (find("redis-server"), find("redis-benchmark")) else {
        return;
    };
    let shop = Workshop::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = port.to_string();
    let mut command = Command::new(server);
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]);
    let server = Process::start(command.arg(shop.path("")).stdout(Stdio::null()));
    wait_until("redis-server", || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let recorder = Recorder::start(HZ, ["-p", &server.id().to_string()]);
    let tests = "set,get,lpush,lrange_100,zadd,hset,mset";
    let work = ["-p", &port, "-q", "-n", "6000", "-c", "10", "-t", tests];
    recorder.wait_for_samples();
    Process::start(Command::new(benchmark).args(work).stdout(Stdio::null())).wait();
    recorder.interrupt().assert_whole("redis-server", LONG);
}

#[test]
fn git() {
    let Some(git) = find("git") else { return };
    let shop = Workshop::new();
    let git = git.to_str().unwrap();
    let folder = shop.path("repository");
    let folder = folder.to_str().unwrap();
    run(Command::new(git).args(["init", "-q", folder]));
    // A history from a stream, which is quicker than that many commits.
    let mut stream = String::new();
    for commit in 0..400 {
        stream.push_str("commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nm\n");
        for file in 0..4 {
            let lines: String =
                (0..300).map(|i| format!("{}\n", i * 7 + commit * (i % 5))).collect();
            stream.push_str(&format!("M 644 inline {file}\ndata {}\n{lines}\n", lines.len()));
        }
    }
    fs::write(shop.path("stream"), stream).unwrap();
    let mut import = Command::new(git);
    import.args(["-C", folder, "fast-import", "--quiet"]);
    run(import.stdin(fs::File::open(shop.path("stream")).unwrap()));
    record(HZ, [git, "-C", folder, "log", "-p", "main"]).assert_whole("git log -p", LONG);
    let repack = [git, "-C", folder, "repack", "-adfq", "--threads=2"];
    record(HZ, repack).assert_whole("git repack", LONG);
    let script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); \
         \"$0\" -C \"$1\" rev-parse main > /dev/null; \"$0\" -C \"$1\" status > /dev/null; done";
    record(HZ, ["/bin/sh", "-c", script, git, folder]).assert_whole("git status", SHORT);
}

#[test]
fn cargo_builds_a_tiny_crate() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    fs::create_dir(shop.path("src")).unwrap();
    let manifest = "[package]\nname = 'tiny'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n";
    fs::write(shop.path("Cargo.toml"), manifest).unwrap();
    let main = "fn main() { let mut a: Vec<String> = std::env::args().collect(); a.sort(); \
         println!(\"{a:?}\"); }";
    fs::write(shop.path("src/main.rs"), main).unwrap();
    let script = "cd \"$0\" && i=0; while [ ! -e stop ] && [ $i -lt 200 ]; do i=$((i+1)); \
         CARGO_TARGET_DIR=\"$0/target\" cargo build -q --release --offline; rm -r target; done";
    let folder = shop.path("");
    let command = ["--", "/bin/sh", "-c", script, folder.to_str().unwrap()];
    let mut recorder = Recorder::start(HZ, command);
    recorder.wait_for_tables();
    thread::sleep(Duration::from_secs(3));
    fs::write(shop.path("stop"), "").unwrap();
    recorder.end().assert_whole("cargo build", SHORT);
}
