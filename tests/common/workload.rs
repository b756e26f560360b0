//! Programs of known shape, compiled where the tests run, and what tests need of a machine.
//!
//! The sources are in `tests/workloads`. They count CPU time, not time: what a test asserts of them
//! holds on a loaded machine too, as long as it is about shares and bounds.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with something else. Not a time that any
/// test needs.
pub const DEADLINE: Duration = Duration::from_secs(150);

/// True if the test can go on. If not, says aloud that it is skipped and why; under CI, where
/// nothing may be skipped, it fails.
pub fn need(what: &str, there: bool) -> bool {
    if !there {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs {what}");
        eprintln!("SKIPPED: {test} needs {what}");
    }
    there
}

/// True if the test can go on as root.
pub fn require_root() -> bool {
    need("root, to load BPF programs", nix::unistd::geteuid().is_root())
}

/// True if the test has that program.
pub fn require_program(path: &str) -> bool {
    need(path, Path::new(path).is_file())
}

/// Waits until `done` gives a value; `what` is what is waited for.
pub fn wait_until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of a test's own, open to all users, which is gone when the test ends.
pub struct Workshop(TempDir);

/// What every C program is compiled with.
pub const C_FLAGS: [&str; 3] = ["-O1", "-g", "-fno-omit-frame-pointer"];

impl Workshop {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles `tests/workloads/NAME.c` as it is meant to be, into NAME.
    pub fn c(&self, name: &str) -> PathBuf {
        self.build(name, name, &[&C_FLAGS[..], &["-pthread"]].concat())
    }

    /// Compiles `tests/workloads/SOURCE.c` into `output`.
    pub fn build(&self, source: &str, output: &str, flags: &[&str]) -> PathBuf {
        self.compile("cc", &format!("{source}.c"), output, flags)
    }

    /// Compiles the shared library `plug` into `output`.
    pub fn plug(&self, output: &str) -> PathBuf {
        self.build("plug", output, &[&C_FLAGS[..], &["-shared", "-fPIC"]].concat())
    }

    /// Runs a compiler on a file of `tests/workloads`.
    pub fn compile(&self, compiler: &str, source: &str, output: &str, flags: &[&str]) -> PathBuf {
        let path = self.path(output);
        run(Command::new(compiler).args(flags).arg("-o").arg(&path).arg(source_path(source)));
        path
    }
}

fn source_path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads").join(file)
}

/// The number of the line of a workload's source that holds `text`.
pub fn line_of(file: &str, text: &str) -> u64 {
    let source = fs::read_to_string(source_path(file)).unwrap();
    let at = source.lines().position(|line| line.contains(text));
    at.unwrap_or_else(|| panic!("{file} has no {text:?}")) as u64 + 1
}

/// Runs a command that must succeed; returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process that does not outlive its test.
pub struct Process {
    child: Child,
    words: String,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let words = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{words}: {error}"));
        Self { child, words }
    }

    /// Starts a workload that says nothing.
    pub fn workload(program: &Path, args: &[&str]) -> Self {
        Self::start(Command::new(program).args(args).stdout(std::process::Stdio::null()))
    }

    /// The same as another user.
    pub fn workload_as(uid: u32, program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        Self::start(command.args(args).uid(uid).stdout(std::process::Stdio::null()))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Closes its standard input, after having written `text` to it.
    pub fn tell(&mut self, text: &str) {
        use std::io::Write;
        self.child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_until(&self.words, || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
