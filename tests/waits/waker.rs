//! Who wakes threads.

use crate::{
    common::workload::require_root,
    recorder::{UNSEEN, record},
};

#[test]
fn who_wakes_a_thread_stands_above_what_it_waited_in() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "offcpu", "--waker"], &["waits", "4"]);
    recorded.assert_complete(0.95);
    let by = |path: &[&str]| recorded.through(&["--type", "off_cpu"], path);
    for (function, call, waker) in [
        ("read_here", "read", &["[woken by]", "write_now_and_then", "write"][..]),
        ("lock_here", "pthread_mutex_lock", &["[woken by]", "[offcpu]", "hold"]),
    ] {
        let (ns, _) = said.calls[function];
        let found = by(&[&["clone3", "run", function, call], waker].concat());
        // The first stacks of a program may come too late; so may some be that were not seen.
        assert!(found > 0.6 * ns && found < 1.05 * ns, "{function}: {found} of {ns} {UNSEEN}");
    }
    // A timer: whoever it interrupted is not who woke it.
    let (slept, _) = said.calls["sleep_here"];
    let timer =
        by(&["sleep_here", "clock_nanosleep", "[woken by]", "[interrupt]", "hrtimer_wakeup"]);
    assert!(timer > 0.6 * slept, "{timer} of {slept}");
    // Without a waker the picture is that of before.
    let (plain, _) = record(&["-s", "offcpu"], &["waits", "1"]);
    assert_eq!(plain.through(&[], &["[woken by]"]), 0.0);
}
