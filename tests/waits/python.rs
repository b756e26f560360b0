//! Threads of Python, which fight for the lock of the interpreter.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_root, run},
    recorder::Recorded,
};

const SCRIPT: &str = "
import threading, time
end = time.monotonic() + 4
def spin():
    while time.monotonic() < end: sum(range(2000))
threads = [threading.Thread(target=spin) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
";

#[test]
fn the_lock_of_the_interpreter_is_what_threads_of_python_wait_for() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let file = shop.path("out");
    let mut record = Command::new(env!("CARGO_BIN_EXE_rprof"));
    record.args(["record", "-s", "cpu,offcpu", "-o"]).arg(&file);
    run(record.args(["--", "/usr/bin/python3", "-c", SCRIPT]));
    let recorded = Recorded::new(file, shop);
    // Four threads for four seconds, one of which may run: CPUs of others do not change that.
    let waited =
        recorded.through(&["-s", "offcpu"], &["clone3", "pthread_cond_timedwait", "[lock]"]);
    assert!(waited > 4e9, "{waited}: {:?}", recorded.stacks(&["-s", "offcpu"]));
    let all = recorded.through(&["-s", "cpu,offcpu"], &["clone3"]);
    assert!((14e9..40e9).contains(&all), "{all}");
}
