//! `signal`.

use std::{fs, path::Path};

use crate::{
    common::{
        command::{has, skip},
        workload::{Workshop, require_root},
    },
    tracer::{text, trace},
};

#[test]
fn every_signal_is_seen_with_the_call_that_made_it() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("signal");
    let traced = trace(&shop, &["signal"], &[text(&program)]).whole();
    let these = |signal: &str, by: &str, outcome: &str| {
        traced.of(|event| {
            event["signal"] == signal && event["by"] == by && event["outcome"] == outcome
        })
    };
    for (signal, by) in [
        ("SIGUSR1", "kill"),
        ("SIGUSR2", "tkill"),
        ("SIGHUP", "tgkill"),
        ("SIGTERM", "pidfd_send_signal"),
        ("SIGRTMIN+2", "rt_sigqueueinfo"),
        ("SIGRTMIN+3", "rt_tgsigqueueinfo"),
    ] {
        let made = these(signal, by, "delivered");
        assert_eq!(made.len(), 10, "{by}");
        assert!(
            made.iter().all(|event| event["to"] == event["pid"] && event["to_comm"] == "signal")
        );
    }
    // Calls that make none: one only asks, the other fails.
    assert_eq!(these("0", "kill", "allowed").len(), 10);
    let failed = these("SIGTERM", "kill", "ESRCH");
    assert_eq!(failed.len(), 10);
    assert!(failed.iter().all(|event| event["to"] == 4_194_999));
    // The kernel's own.
    let faults = these("SIGSEGV", "SEGV_MAPERR", "delivered");
    assert_eq!(faults.len(), 10);
    assert!(faults.iter().all(|event| event["to"] == event["pid"] && event["code"] == 1));
    let died = traced.of(|event| event["signal"] == "SIGCHLD" && event["to_comm"] == "signal");
    assert_eq!(died.len(), 10);
    assert_eq!(traced.count("signal", "SIGALRM"), 1);
}

#[test]
fn only_the_wanted_ones() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("signal");
    let options = ["signal", "--signal", "USR2,SIGHUP"];
    let traced = trace(&shop, &options, &[text(&program)]).whole();
    assert_eq!((traced.count("signal", "SIGUSR2"), traced.count("signal", "SIGHUP")), (10, 10));
    // A question has no signal.
    assert_eq!(traced.events.len() - traced.count("signal", "0"), 20);
    let traced = trace(&shop, &["signal", "--failed"], &[text(&program)]).whole();
    assert_eq!((traced.events.len(), traced.count("error", "ESRCH")), (10, 10));
}

#[test]
fn the_out_of_memory_killer_is_seen() {
    if !require_root() || !has("perl") {
        return;
    }
    // The one hierarchy or the other has the controller.
    let both =
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    let group = both.iter().find_map(|(folder, limit)| {
        let group = Path::new(folder).join(format!("rprof-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let limited = fs::write(group.join(limit), "20M").is_ok();
        if !limited {
            fs::remove_dir(&group).unwrap();
        }
        limited.then_some(group)
    });
    let Some(group) = group else { return skip("there is no cgroup with a limit of memory") };
    let _ = fs::write(group.join("memory.swap.max"), "0"); // only the second has it
    let shop = Workshop::new();
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec perl -e '$x = \"a\" x 60000000; sleep 1'",
        text(&group)
    );
    let traced = trace(&shop, &["signal,exit", "--signal", "KILL"], &["/bin/sh", "-c", &script]);
    fs::remove_dir(&group).unwrap();
    assert_eq!(traced.ran.code(), 128 + 9, "{}", traced.err);
    let victims = traced.of(|event| event["outcome"] == "OOM victim");
    assert_eq!(victims.len(), 1);
    assert_eq!((&victims[0]["signal"], &victims[0]["by"]), (&"SIGKILL".into(), &"kernel".into()));
    let ended = traced.of(|event| event["event"] == "exit" && event["signal"] == "SIGKILL");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["pid"], victims[0]["to"]);
}
