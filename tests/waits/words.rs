//! Which waits are recorded: the words of `record`.

use crate::{
    common::workload::require_root,
    recorder::{assert_close, record},
};

#[test]
fn only_the_states_that_are_asked_for() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu", "--state", "lock"], &["waits", "2"]);
    for (stack, _) in recorded.stacks(&[]) {
        assert_eq!(stack.last().unwrap(), "[lock]", "{stack:?}");
    }
    let (ns, count) = said.calls["lock_here"];
    let found = recorded.through(&[], &["lock_here", "[lock]"]);
    let hidden = recorded.unseen() * 2.0 * ns / count;
    assert!(found <= ns && found + hidden > ns / 2.0, "{found} of {ns}");
}

#[test]
fn only_waits_as_long_as_is_asked_for() {
    if !require_root() {
        return;
    }
    let (recorded, _) = record(&["-s", "offcpu", "--min", "70ms"], &["waits", "2"]);
    assert!(recorded.through(&[], &["sleep_here", "[sleep]"]) > 1e9);
    assert_eq!(recorded.through(&[], &["write_now_and_then", "clock_nanosleep", "[sleep]"]), 0.0);
    let (recorded, _) = record(&["-s", "offcpu", "--max", "70ms"], &["waits", "2"]);
    assert_eq!(recorded.through(&[], &["sleep_here", "[sleep]"]), 0.0);
    assert!(recorded.through(&[], &["write_now_and_then", "clock_nanosleep", "[sleep]"]) > 1e9);
}

#[test]
fn each_wait_is_counted_where_that_is_asked_for() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu", "--exact"], &["waits", "2"]);
    let (_, sleeps) = said.calls["sleep_here"];
    let found =
        recorded.through(&["--type", "waits"], &["sleep_here", "clock_nanosleep", "[sleep]"]);
    assert!(found <= sleeps && found + recorded.unseen() >= sleeps, "{found} of {sleeps}");
    let (wall, cpu, _) = said.threads["sleep_here"];
    let waited = recorded.through(&["--comm", "sleep_here"], &[]);
    assert_close(waited, wall - cpu, 0.01, "sleep_here");
}

#[test]
fn threads_are_ready_as_long_as_the_scheduler_says() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "runqlat"], &["storm", "4"]);
    let (_, _, ready) = said.threads["ping_here"];
    let found = recorded.through(&["--comm", "ping_here"], &[]);
    // It is waits of 2 us, and the scheduler does not set its clock at a switch that a wake-up has
    // asked for: some of what ran before counts as ready there, and not here.
    assert_close(found, ready, 0.3, "ping_here");
    for (stack, _) in recorded.stacks(&[]) {
        let leaf = stack.last().unwrap();
        assert!(leaf == "[preempted]" || leaf == "[runnable]", "{stack:?}");
    }
    let at_switch = recorded.through(&[], &["clone3", "run", "ping_here"]);
    assert!(at_switch > 0.0, "no stack tells where it was preempted or woken");
}

#[test]
fn where_the_kernel_allows_no_better_user_stacks_are_taken_at_the_end_of_calls() {
    if !require_root() {
        return;
    }
    let words = ["-s", "offcpu", "--at-call-ends"];
    let (recorded, said) = record(&words, &["waits", "2"]);
    for function in ["sleep_here", "lock_here", "read_here"] {
        let (ns, count) = said.calls[function];
        let found = recorded.through(&[], &["clone3", "run", function]);
        let hidden = recorded.unseen() * 2.0 * ns / count;
        // Those that were preempted on the way have none.
        assert!(found + hidden > 0.8 * ns && found < 1.1 * ns, "{function}: {found} of {ns}");
    }
}
