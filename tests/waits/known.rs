//! Waits of known length and place.

use crate::{
    common::workload::require_root,
    recorder::{assert_close, record},
};

/// The path to each wait of the workload, and what it waits for.
const PLACES: [(&str, &str, &str); 3] = [
    ("sleep_here", "clock_nanosleep", "[sleep]"),
    ("lock_here", "pthread_mutex_lock", "[lock]"),
    ("read_here", "read", "[sleep]"),
];

#[test]
fn each_wait_is_as_long_as_the_program_says() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu"], &["waits", "5"]);
    recorded.assert_complete(0.99);
    for (function, call, state) in PLACES {
        let (ns, count) = said.calls[function];
        let hidden = recorded.unseen() * 2.0 * ns / count;
        let all = recorded.through(&[], &["clone3", "start_thread", "run", function, call]);
        // On a busy machine it takes a while until a thread that is woken goes on.
        let not = recorded.through(&[], &["run", function, "[runnable]"])
            + recorded.through(&[], &["run", function, "[preempted]"]);
        assert_close(all, ns, hidden / ns + 0.02, function);
        let waited = recorded.through(&[], &["run", function, call, state]);
        assert_close(waited + not, ns, hidden / ns + 0.02, &format!("{function} {state}"));
        assert!(waited > ns / 2.0, "{function}: {waited} of {ns} in {state}");
    }
}

#[test]
fn what_a_thread_waits_and_runs_is_its_life() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu"], &["waits", "5"]);
    for (thread, (wall, cpu, _)) in said.threads {
        let waited = recorded.through(&["--by", "thread", "--comm", &thread], &[]);
        assert_close(waited, wall - cpu, 0.01, &thread);
    }
}

#[test]
fn a_storm_of_short_waits_adds_up() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu"], &["storm", "4"]);
    let (wall, cpu, _) = said.threads["ping_here"];
    let (_, trips) = said.calls["ping_here"];
    let waited = recorded.through(&["--comm", "ping_here"], &[]);
    assert_close(waited, wall - cpu, 0.02, "ping_here");
    // One sample in thousands, and yet it is known about how many waits there were: one a round
    // trip, or two where the other thread is run at once.
    let waits: f64 =
        recorded.stacks(&["--comm", "ping_here", "--type", "waits"]).iter().map(|one| one.1).sum();
    assert!((0.5..4.0).contains(&(waits / trips)), "{waits} waits in {trips} round trips");
    recorded.assert_complete(0.99);
}

#[test]
fn a_thread_that_hangs_is_seen_as_far_as_it_got() {
    if !require_root() {
        return;
    }
    let (recorded, _) = record(&["-s", "offcpu"], &["hang", "2.5"]);
    let hung = recorded.through(&[], &["clone3", "run", "hang_here", "pause", "[sleep]"]);
    let slept = recorded.through(&[], &["_start", "main", "clock_nanosleep", "[sleep]"]);
    assert!(slept > 2.4e9, "{slept}");
    // It began a moment earlier and was there when all ended.
    assert_close(hung, slept, 0.05, "hang_here");
    recorded.assert_complete(0.99);
}
