//! What was counted while recording, as Prometheus and its like ask for it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Counters are those of the newest recording, which begin anew with each one, as such counters
//! may. No name of a process or of a function is among the labels, so their number is bounded.

use std::{
    fmt::{Display, Write},
    fs,
    ops::Range,
};

use web::{Answer, Refusal};

use super::{broken, data::Data};
use crate::{
    model::{Histogram, LaneKind},
    output::clean,
    push, query,
    store::{Grain, Store},
};

/// The content type of the text format.
const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What quantiles are of, ns.
const RECENT: u64 = 300_000_000_000;

/// All of it.
pub fn metrics(data: &mut Data) -> Result<Answer, Refusal> {
    let store = data.store(0).map_err(broken)?;
    let spans = store.spans();
    let mut page = Page::default();
    let files = spans.iter().filter_map(|span| fs::metadata(&span.path).ok());
    let bytes = files.fold(0u64, |sum, file| sum.saturating_add(file.len()));
    page.one("store_bytes", "gauge", "Size of all recordings.", "", bytes);
    page.one("store_recordings", "gauge", "Recordings.", "", spans.len());
    let remarks = store.remarks().len();
    page.one("store_remarks", "gauge", "Things that are wrong with recordings.", "", remarks);
    let Some(last) = spans.last() else { return Ok(page.finish()) };
    let info = store.info();
    let labels = format!("version=\"{}\",host=\"{}\"", escape(&info.version), escape(&info.host));
    page.one("info", "gauge", "Who recorded.", &labels, 1);
    let start = last.time.start as f64 / 1e9;
    page.one(
        "recording_start_seconds",
        "gauge",
        "Start of the newest recording, Unix time.",
        "",
        start,
    );
    let end = last.time.end as f64 / 1e9;
    page.one(
        "recording_end_seconds",
        "gauge",
        "End so far of the newest recording, Unix time.",
        "",
        end,
    );
    let live = u8::from(!last.complete);
    page.one("recording_live", "gauge", "1 while it is recorded.", "", live);
    for source in store.sources() {
        let stats = store.stats(&source.name, &last.time);
        let duration = last.time.end - last.time.start;
        let honesty = query::honesty(&stats, &source, last.time.start, duration);
        let label = format!("source=\"{}\"", escape(&source.name));
        let mut count = |name: &str, help: &str, value: u64| {
            page.one(name, "counter", help, &label, value);
        };
        count("samples_total", "Samples recorded.", honesty.samples);
        count("samples_lost_total", "Samples taken but lost.", honesty.lost);
        count("stacks_truncated_total", "Stacks cut at the depth limit.", honesty.truncated);
        count(
            "stacks_incomplete_total",
            "User stacks not followed to their root.",
            honesty.incomplete,
        );
        count(
            "kernel_stacks_failed_total",
            "Samples in the kernel without a kernel stack.",
            honesty.kernel_failed,
        );
        for (reason, failed) in &honesty.unwind_failed {
            let label = format!("{label},reason=\"{}\"", escape(reason));
            page.one(
                "unwind_failed_total",
                "counter",
                "Incomplete user stacks by reason.",
                &label,
                failed,
            );
        }
        for (what, missed) in &honesty.missed {
            let label = format!("{label},what=\"{}\"", escape(what));
            page.one(
                "missed_total",
                "counter",
                "Other things missed or turned away.",
                &label,
                missed,
            );
        }
        let help = "Share of the samples taken whose stack is there and complete.";
        page.one("coverage_ratio", "gauge", help, &label, honesty.complete);
        let hz = honesty.rates.last().map_or(source.frequency, |rate| rate.hz);
        page.one("sampling_hz", "gauge", "Samples a second and CPU.", &label, hz);
        let cost = &honesty.cost;
        page.one("bpf_seconds_total", "counter", "Time in BPF programs.", &label, cost.bpf_seconds);
        let help = "CPU time of the recorder, user and system.";
        page.one("cpu_seconds_total", "counter", help, &label, cost.cpu_seconds);
        let help = "CPU and BPF time as a share of one CPU.";
        page.one("overhead_ratio", "gauge", help, &label, cost.cpu_share);
        let help = "Peak resident memory of the recorder.";
        page.one("memory_bytes", "gauge", help, &label, cost.rss_bytes);
    }
    lanes(store, &last.time, &mut page);
    for progress in push::read_progress(store.path()) {
        pushed(&mut page, &progress);
    }
    Ok(page.finish())
}

/// What there is besides stacks.
fn lanes(store: &mut Store, time: &Range<u64>, page: &mut Page) {
    for lane in store.lanes() {
        let stats = store.lane_stats(&lane.name, time);
        let label = format!("source=\"{}\"", escape(&lane.name));
        let mut count = |name: &str, help: &str, value: u64| {
            page.one(name, "counter", help, &label, value);
        };
        count("marks_total", "What happened, and was recorded.", stats.marks);
        let help = "What happened, but too often in a second to be recorded.";
        count("marks_left_out_total", help, stats.left_out);
        for (what, missed) in &stats.missed {
            let label = format!("{label},what=\"{}\"", escape(what));
            let help = "Other things missed or turned away.";
            page.one("missed_total", "counter", help, &label, missed);
        }
        let seconds = stats.bpf_ns as f64 / 1e9;
        page.one("bpf_seconds_total", "counter", "Time in BPF programs.", &label, seconds);
        if lane.kind == LaneKind::Latency {
            summary(store, &lane.name, &label, time, page);
        }
    }
}

/// Times of a lane: all of the newest recording, and quantiles of its last minutes.
fn summary(store: &mut Store, name: &str, label: &str, time: &Range<u64>, page: &mut Page) {
    let mut sum = |time: &Range<u64>, grain| {
        let mut sum = Histogram::default();
        store.slices(name, time, grain, &mut |slice| {
            slice.series.iter().for_each(|series| sum.merge(&series.histogram));
            true
        });
        sum
    };
    let all = sum(time, Grain::Minutes);
    let recent = sum(&(time.end.saturating_sub(RECENT).max(time.start)..time.end), Grain::Fine);
    let (family, help) = ("latency_seconds", "Times, and quantiles of the last five minutes.");
    let seconds = |ns: u64| ns as f64 / 1e9;
    for q in [0.5, 0.9, 0.99].into_iter().filter(|_| recent.count() > 0) {
        let labels = format!("{label},quantile=\"{q}\"");
        page.part(family, "", ("summary", help), &labels, seconds(recent.quantile(q)));
    }
    page.part(family, "_sum", ("summary", help), label, seconds(all.sum()));
    page.part(family, "_count", ("summary", help), label, all.count());
}

/// What one receiver was sent.
fn pushed(page: &mut Page, progress: &push::Progress) {
    let label = format!("receiver=\"{}\"", escape(&progress.receiver));
    for (name, help, count) in [
        ("push_windows_total", "Windows sent to engines.", progress.windows),
        ("push_profiles_total", "Profiles that engines took.", progress.profiles),
        ("push_bytes_total", "Bytes sent for them.", progress.bytes),
        ("push_refused_total", "Profiles that engines will not take.", progress.refused),
        ("push_failed_total", "Attempts to send that failed.", progress.failed),
        ("push_dropped_total", "Windows that waited too long.", progress.dropped),
    ] {
        page.one(name, "counter", help, &label, count);
    }
    let help = "All before this was sent or given up, Unix time.";
    page.one("push_until_seconds", "gauge", help, &label, progress.until as f64 / 1e9);
}

/// Metrics by name: all values of one have to stand together.
#[derive(Default)]
struct Page(Vec<(String, String)>);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: impl Display) {
        self.part(name, "", (kind, help), labels, value);
    }

    /// A value of a family whose name has something behind it.
    fn part(
        &mut self,
        name: &str,
        suffix: &str,
        (kind, help): (&str, &str),
        labels: &str,
        value: impl Display,
    ) {
        let place = match self.0.iter().position(|(known, _)| known == name) {
            Some(place) => place,
            None => {
                let head = format!("# HELP rprof_{name} {help}\n# TYPE rprof_{name} {kind}\n");
                self.0.push((name.to_owned(), head));
                self.0.len() - 1
            }
        };
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0[place].1, "rprof_{name}{suffix}{labels} {value}"); // a text takes anything
    }

    fn finish(self) -> Answer {
        let text: String = self.0.into_iter().map(|(_, text)| text).collect();
        Answer { content: CONTENT, bytes: text.into_bytes(), file: None }
    }
}

/// The value of a label.
fn escape(text: &str) -> String {
    clean(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
