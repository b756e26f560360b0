//! A recording for all tests, and `rprof push` on it.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::OnceLock,
};

use crate::workload::{Workshop, require_root, run};

pub fn rprof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rprof"));
    // What this machine says of the way out is not for servers of its own.
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy"]
    {
        command.env_remove(name);
    }
    command
}

/// A recording of CPU time, waits and memory of two services: `cpu`, which is only a program, and `shop`,
/// which says so itself. None where it cannot be made.
pub fn recording() -> Option<PathBuf> {
    static MADE: OnceLock<Option<(Workshop, PathBuf)>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        if !require_root() {
            return None;
        }
        let shop = Workshop::new();
        let (cpu, heap) = (shop.c("cpu"), shop.c("heap"));
        let file = shop.path("recording");
        let (cpu, heap) = (cpu.display(), heap.display());
        let script = format!("{cpu} 1; exec env OTEL_SERVICE_NAME=shop {heap} leak 3");
        // What it holds in the end is told of the one that is started, so that one comes last.
        let mut command = rprof();
        command.args(["record", "-s", "cpu,offcpu,heap", "-F", "499", "-o"]).arg(&file);
        run(command.args(["--", "sh", "-c", &script]));
        Some((shop, file))
    });
    made.as_ref().map(|(_, file)| file.clone())
}

/// `rprof push` of the recording to an address, with waits that are short.
pub fn pushing(to: &str) -> Option<Command> {
    let mut command = rprof();
    command.arg("push").arg(recording()?).args(["--to", to, "--push-back-off", "20ms"]);
    Some(command)
}

/// The same, done; it must succeed.
pub fn push(to: &str) -> Option<String> {
    let output = pushing(to)?.output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    Some(said)
}

/// What a command said on both outputs.
pub fn said(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(!text.contains("panicked"), "{text}");
    text
}
