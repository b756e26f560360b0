//! Runs programs, rprof above all, with a limit on their time, and judges how they ended.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What no run may exceed, on a machine where everything else runs too.
const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
pub const RPROF: &str = env!("CARGO_BIN_EXE_rprof");

/// `rprof WORDS`, under no sudo, whatever the test runs under.
pub fn rprof<const N: usize>(words: [&str; N]) -> Command {
    let mut command = Command::new(RPROF);
    command.args(words).env_remove("SUDO_UID").env_remove("SUDO_GID");
    command
}

/// How a program ended, and what it wrote.
pub struct Ran {
    /// The command, to tell it in failures.
    words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

/// Runs to the end, without input. What the caller set as output stays set.
pub fn run(command: &mut Command) -> Ran {
    run_with(command.stdout(Stdio::piped()))
}

/// As [`run`], with standard output where the caller has sent it.
pub fn run_with(command: &mut Command) -> Ran {
    let words = format!("{command:?}");
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let deadline = Instant::now() + LIMIT;
    let child = loop {
        match command.spawn() {
            // Another test forked while this one still wrote the program, and has the file open
            // until its child calls exec.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                assert!(Instant::now() < deadline, "{words}: {error}");
                thread::sleep(Duration::from_millis(10));
            }
            other => break other,
        }
    };
    wait(child.unwrap_or_else(|error| panic!("{words}: {error}")), words)
}

/// Waits for a child with pipes; `words` say what it is.
pub fn wait(mut child: Child, words: String) -> Ran {
    let out = child.stdout.take().map(|pipe| thread::spawn(|| read(pipe)));
    let err = child.stderr.take().map(|pipe| thread::spawn(|| read(pipe)));
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words}: not done in {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(1));
    };
    let join = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        reader.map(|reader| reader.join().unwrap()).unwrap_or_default()
    };
    let err = String::from_utf8_lossy(&join(err)).into_owned();
    Ran { words, status, out: join(out), err }
}

fn read(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes); // what came before an error is what there is
    bytes
}

impl Ran {
    /// The exit code; fails if there is none, or if the program panicked.
    pub fn code(&self) -> i32 {
        assert!(!self.err.contains("panicked at"), "{}: {}", self.words, self.err);
        assert_eq!(self.status.signal(), None, "{}: {}", self.words, self.err);
        self.status.code().unwrap()
    }

    /// Asserts success, and gives standard output as text.
    pub fn ok(&self) -> &str {
        assert_eq!(self.code(), 0, "{}: {}", self.words, self.err);
        self.text()
    }

    /// Asserts success, and gives standard output, of which there is some.
    pub fn ok_bytes(&self) -> &[u8] {
        assert_eq!(self.code(), 0, "{}: {}", self.words, self.err);
        assert!(!self.out.is_empty(), "{}: writes nothing", self.words);
        &self.out
    }

    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Asserts this exit code, nothing on standard output, and each of `parts` on standard error.
    pub fn fails<const N: usize>(&self, code: i32, parts: [&str; N]) {
        assert_eq!(self.code(), code, "{}: {}", self.words, self.err);
        assert!(self.out.is_empty(), "{}: writes {:?}", self.words, self.text());
        for part in parts {
            assert!(self.err.contains(part), "{}: no {part:?} in: {}", self.words, self.err);
        }
    }
}

/// A process that is ended with the test. Standard input, output and error are nothing unless set.
pub struct Running(pub Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Uses a CPU until the test ends.
    pub fn spin() -> Self {
        Self::start(Command::new("sh").args(["-c", "while :; do :; done"]))
    }

    /// Process id, as text.
    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Waits for it to end by itself, or after a signal.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} does not end", self.pid());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Waits until `done`, which `what` describes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "not {what} in {LIMIT:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The recording that is kept in the repository; `tests/replay/record.sh` made it.
pub fn kept_recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/replay/demo.recording")
}

/// Says aloud that a test does not run, and why. Under CI everything has to run.
pub fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {why}");
    eprintln!("SKIPPED: {test}: {why}");
}

/// True if there is such a program; if not, says that the test is skipped.
pub fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

/// True if we are root with all that recording and mounting need; if not, says that the test is
/// skipped.
pub fn is_root() -> bool {
    // CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF, by their numbers in linux/capability.h.
    let needed = 1u64 << 21 | 1 << 38 | 1 << 39;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0")) && mask & needed == needed;
    if !root {
        skip("it needs root with CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF");
    }
    root
}
