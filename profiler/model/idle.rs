//! Threads that wait because there is nothing to do: those of a pool without a job, a loop of events
//! without an event, a server that nobody calls. Most of what a machine waits is of this kind, and
//! hides the rest; so it stands on one frame, [`IDLE`], by itself.
//!
//! It is told by the functions of a stack when it is shown, not when it is recorded, so that it can
//! be shown as it is, too. Who waits for an answer, a lock or a child that ends is not idle.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, bail};

use super::{EMPTY_STACK, IDLE, Name, NameKind, Profile, WaitState};

/// How idle threads are shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Idle {
    /// Below one frame.
    #[default]
    Group,
    /// As they are.
    Show,
    /// Not at all.
    Hide,
}

impl Idle {
    /// Reads its word.
    ///
    /// # Errors
    /// There is no such word: says which there are.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "group" => Self::Group,
            "show" => Self::Show,
            "hide" => Self::Hide,
            _ => bail!("{text:?} says nothing of idle threads: group, show or hide"),
        })
    }
}

/// Functions of the kernel: whoever waits in one of them is idle.
const KERNEL: &[&str] = &[
    "do_epoll_wait", // epoll: loops of events; the next is a part of it where it is not inlined
    "ep_poll",
    "inet_csk_accept", // accept: a server that nobody calls
    "io_cqring_wait",  // io_uring: loops of events
    "worker_thread",   // threads of the kernel, from here on
    "rescuer_thread",
    "smpboot_thread_fn",
    "kthreadd",
    "kswapd",
    "kauditd_thread",
    "rcu_gp_kthread",
];

/// Functions of runtimes, by their whole names.
const USER: &[&str] = &[
    // Go: a thread of the scheduler without a goroutine, and the monitor.
    "runtime.findRunnable",
    "runtime.findrunnable",
    "runtime.stopm",
    "runtime.stoplockedm",
    "runtime.sysmon",
    "runtime.templateThread",
    // Java: pools of programs, and threads of the machine itself.
    "java.util.concurrent.ThreadPoolExecutor.getTask",
    "java.util.concurrent.ForkJoinPool.awaitWork",
    "WatcherThread::sleep",
    "VMThread::loop",
    "VMThread::wait_for_vm_thread_exit",
    "CompileQueue::get",
    "MonitorDeflationThread::monitor_deflation_thread_entry",
    "ServiceThread::service_thread_entry",
    "SemaphoreGangTaskDispatcher::worker_wait_for_task",
    "WorkerTaskDispatcher::worker_run_task",
    "G1ConcurrentRefineThread::wait_for_completed_buffers",
    "ConcurrentGCThread::wait_for_next_cycle",
    "ReferenceHandler.run",
    // libuv: its pool, and node's.
    "uv__threadpool_worker",
    "uv__io_poll",
    // GLib, Qt.
    "g_thread_pool_wait_for_new_task",
    "QThreadPoolThread::run",
];

/// Parts of names: all of one line have to be in the same name.
const PARTS: &[&[&str]] = &[
    &["tokio::runtime", "park"],
    &["tokio::runtime::blocking::pool", "run"],
    &["rayon_core", "sleep"],
    &["rayon_core", "wait_until_cold"],
    &["async_io::driver", "main_loop"],
    &["node::", "BlockingPop"],
    &["node::", "DelayedTaskScheduler", "Run"],
    &["v8::platform::", "GetNext"],
];

/// True if a stack, leaf first, is that of an idle thread.
pub fn is_idle<'a>(mut names: impl Iterator<Item = Name<'a>>) -> bool {
    let Some(leaf) = names.next() else { return false };
    // Who is ready to run has something to do.
    let waits = [WaitState::Sleep, WaitState::Lock];
    if leaf.kind != NameKind::Note || !waits.iter().any(|state| state.note() == leaf.text) {
        return false;
    }
    names.any(|name| match name.kind {
        NameKind::Note => false,
        NameKind::Kernel => KERNEL.contains(&&*name.text),
        _ => {
            USER.contains(&&*name.text)
                || PARTS.iter().any(|parts| parts.iter().all(|part| name.text.contains(part)))
        }
    })
}

/// Puts the idle stacks of a profile on a frame of their own, or takes them out.
pub fn arrange(profile: &mut Profile, idle: Idle) {
    if idle == Idle::Show {
        return;
    }
    let mut known: HashMap<u32, u32> = HashMap::new();
    let mut idles: Vec<u32> = Vec::new();
    for sample in &profile.samples {
        known.entry(sample.stack).or_insert_with(|| {
            if is_idle(profile.tables.stack_names(sample.stack)) {
                idles.push(sample.stack);
            }
            sample.stack
        });
    }
    if idles.is_empty() {
        return;
    }
    if idle == Idle::Hide {
        idles.sort_unstable();
        profile.samples.retain(|sample| idles.binary_search(&sample.stack).is_err());
        return;
    }
    let tables = Arc::make_mut(&mut profile.tables);
    let note = tables.note(IDLE);
    for stack in idles {
        let frames: Vec<u32> = tables.stacks.frames(stack).collect();
        let root = tables.stacks.push(EMPTY_STACK, note);
        let moved =
            frames.iter().rev().fold(root, |below, frame| tables.stacks.push(below, *frame));
        known.insert(stack, moved);
    }
    for sample in &mut profile.samples {
        sample.stack = known[&sample.stack];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the root on; `k:` is of the kernel, and brackets are notes.
    fn idle(stack: &str) -> bool {
        is_idle(stack.split(';').rev().map(|text| match text.strip_prefix("k:") {
            Some(text) => Name { text: text.into(), kind: NameKind::Kernel },
            None if text.starts_with('[') => Name { text: text.into(), kind: NameKind::Note },
            None => Name { text: text.into(), kind: NameKind::User },
        }))
    }

    #[test]
    fn those_without_work_are_idle() {
        for stack in [
            "main;epoll_wait;k:do_syscall_64;k:ep_poll;[sleep]",
            "main;accept;k:inet_csk_accept;[sleep]",
            "runtime.mcall;runtime.schedule;runtime.findRunnable;runtime.futex;k:futex_wait;[lock]",
            "start;<tokio::runtime::scheduler::multi_thread::worker::Context>::park;syscall;[lock]",
            "tokio::runtime::blocking::pool::Inner::run;syscall;k:futex_wait;[lock]",
            "uv__threadpool_worker;uv_cond_wait;k:futex_wait;[lock]",
            "node::TaskQueue<v8::Task>::BlockingPop;uv_cond_wait;[lock]",
            "Thread::call_run;CompileQueue::get;Monitor::wait;[lock]",
            "k:ret_from_fork;k:kthread;k:worker_thread;[sleep]",
            "rayon_core::registry::WorkerThread::wait_until_cold;syscall;[lock]",
        ] {
            assert!(idle(stack), "{stack}");
        }
    }

    #[test]
    fn those_that_wait_for_something_are_not() {
        for stack in [
            "main;read;k:pipe_read;[sleep]",
            "main;pthread_mutex_lock;k:futex_wait;[lock]",
            "main;epoll_wait;k:ep_poll;[runnable]",
            "main;epoll_wait;k:ep_poll",
            "main;fsync;k:jbd2_log_wait_commit;[disk]",
            "runtime.gopark;runtime.semacquire;[lock]",
            // A function of the user's that is called as one of the kernel's.
            "main;ep_poll;nanosleep;[sleep]",
            "[sleep]",
            "",
        ] {
            assert!(!idle(stack), "{stack}");
        }
        assert_eq!(Idle::parse("hide").unwrap(), Idle::Hide);
        assert!(Idle::parse("no").unwrap_err().to_string().contains("group, show or hide"));
    }
}
