//! The line that tells how a recording goes, on a terminal only.

use std::io::IsTerminal;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::Session;

/// A line on standard error, drawn anew as it changes.
pub struct Progress {
    bar: ProgressBar,
    hint: &'static str,
    shown: u64,
}

/// ns between two states of the line.
const INTERVAL: u64 = 200_000_000;

impl Progress {
    /// A line, if standard error is a terminal. `hint` says how the recording ends.
    pub fn new(hint: &'static str) -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target).with_style(
            ProgressStyle::with_template("{msg}").unwrap_or(ProgressStyle::default_bar()),
        );
        Self { bar, hint, shown: 0 }
    }

    /// Shows how far `session` is.
    pub fn show(&mut self, session: &Session) {
        let elapsed = session.elapsed();
        if self.bar.is_hidden() || elapsed < self.shown + INTERVAL {
            return;
        }
        self.shown = elapsed;
        let stats = session.stats();
        let seconds = elapsed as f64 / 1e9;
        let cost = stats.overhead.cpu_seconds + stats.overhead.bpf_ns as f64 / 1e9;
        self.bar.set_message(format!(
            "{seconds:6.1} s  {} samples  {} lost  rprof uses {:.1} % of a CPU  ({})",
            HumanCount(stats.samples),
            HumanCount(stats.lost),
            100.0 * cost / seconds,
            self.hint,
        ));
    }

    /// Takes the line away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
