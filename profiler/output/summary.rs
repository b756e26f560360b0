//! What every output says beside its stacks: what was measured, of whom, and what is missing.
//!
//! A profile that hides what it lost cannot be trusted, so the counts are always shown, zeros
//! included, and in the same words everywhere.

use std::time::{Duration, SystemTime};

use crate::model::{Label, Profile};

use super::text::{clean, percent, quantity, shorten, thousands};

/// What stands for the stack of a sample that has none, where readers drop an empty one.
pub const NO_STACK: &str = "[no stack]";

/// Characters of a target that are shown.
const TARGET: usize = 80;

/// What a label is called where people read it.
pub fn label(label: Label) -> &'static str {
    match label {
        Label::Comm => "command",
        Label::Exe => "executable",
        Label::Cmdline => "command line",
        Label::Uid => "user id",
        other => other.word(),
    }
}

/// What the profile measures: `CPU time`.
pub fn title(profile: &Profile) -> String {
    let value = &profile.source.value;
    let name = match value.name.as_str() {
        "cpu" => "CPU".into(),
        "off_cpu" => "Off-CPU".into(),
        name => clean(name).replace('_', " "),
    };
    if value.unit == "nanoseconds" { format!("{name} time") } else { name }
}

/// Who was recorded, for how long, at what rate, and when:
/// `process 10 (app) · 10.0 s · 99 Hz cpu-clock · 2026-11-21T07:40:54Z`.
pub fn origin(profile: &Profile) -> String {
    let target = clean(&profile.info.target);
    let parts = [&*shorten(&target, TARGET), &time(profile), &rate(profile), &start(profile)];
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" · ")
}

/// What the profile holds and what is missing from it:
/// `23 samples = 232 ms · 2 lost (0.09%) · 1 truncated · …`.
pub fn counts(profile: &Profile) -> String {
    let stats = &profile.stats;
    let (count, value) = (profile.count(), &profile.source.value);
    let of = match stats.samples {
        all if all > count => format!(" of {}", thousands(all)),
        _ => String::new(),
    };
    let mut parts = vec![
        format!("{}{of} samples = {}", thousands(count), quantity(profile.value(), &value.unit)),
        format!("{:.2}% with complete stacks", 100.0 * stats.complete()),
        match stats.lost {
            0 => "0 lost".into(),
            lost => format!(
                "{} lost ({})",
                thousands(lost),
                percent(lost, lost.saturating_add(stats.samples))
            ),
        },
        format!("{} truncated", thousands(stats.truncated)),
        format!("{} incomplete user stacks{}", thousands(stats.incomplete()), reasons(profile)),
        format!("{} without kernel stack", thousands(stats.kernel_failed)),
        format!("{} unnamed frames", thousands(stats.unsymbolized_frames)),
    ];
    parts.extend(stats.missed.iter().map(|(what, n)| format!("{} {}", thousands(*n), clean(what))));
    if !profile.info.complete {
        parts.push("recording not ended".into());
    }
    parts.join(" · ")
}

/// What recording cost: `rprof itself: 50.0 ms CPU · 46.0 µs in BPF, 2.00 µs a run · 20.0 MB`.
pub fn cost(profile: &Profile) -> String {
    let cost = &profile.stats.overhead;
    format!(
        "rprof itself: {} CPU · {} in BPF, {} a run · {} peak memory",
        quantity((cost.cpu_seconds * 1e9) as u64, "nanoseconds"),
        quantity(cost.bpf_ns, "nanoseconds"),
        quantity(cost.bpf_ns / cost.bpf_runs.max(1), "nanoseconds"),
        quantity(cost.peak_rss_bytes, "bytes"),
    )
}

/// Why user stacks are incomplete: ` (no frame pointer 3, …)`.
fn reasons(profile: &Profile) -> String {
    let failed = &profile.stats.unwind_failed;
    let reasons: Vec<_> = failed
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} {}", clean(reason), thousands(*count)))
        .collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

/// How long; where a view shows only a part of the recording, which.
fn time(profile: &Profile) -> String {
    let seconds = |ns| quantity(ns, "nanoseconds");
    let whole = profile.info.duration;
    if profile.from == 0 && (profile.to == 0 || profile.to >= whole) {
        return seconds(whole);
    }
    format!("{} to {} of {}", seconds(profile.from), seconds(profile.to), seconds(whole))
}

/// What made samples, and how often.
fn rate(profile: &Profile) -> String {
    let source = &profile.source;
    let event = clean(if source.event.is_empty() { &source.name } else { &source.event });
    match source.frequency {
        0 => event.into(),
        frequency => format!("{frequency} Hz {event}"),
    }
}

/// When the recording started, in UTC; empty if not known.
fn start(profile: &Profile) -> String {
    let start = Duration::from_nanos(profile.info.start);
    match SystemTime::UNIX_EPOCH.checked_add(start) {
        Some(time) if !start.is_zero() => humantime::format_rfc3339_seconds(time).to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::example;

    #[test]
    fn all_is_said_and_zeros_too() {
        let mut profile = example::profile();
        assert_eq!(title(&profile), "CPU time");
        let expected = "process 10 (app) · 10.0 s · 99 Hz cpu-clock · 2026-11-21T07:40:54Z";
        assert_eq!(origin(&profile), expected);
        let expected = "23 samples = 232 ms · 76.00% with complete stacks · 2 lost (8.00%) · 1 \
            truncated · 3 incomplete user \
            stacks (no frame pointer 3) · 0 without kernel stack · 2 unnamed frames";
        assert_eq!(counts(&profile), expected);
        let expected =
            "rprof itself: 50.0 ms CPU · 46.0 µs in BPF, 2.00 µs a run · 20.0 MB peak memory";
        assert_eq!(cost(&profile), expected);
        profile.info.complete = false;
        profile.stats.missed.insert("maps of processes missed".into(), 4);
        let missed = "4 maps of processes missed · recording not ended";
        assert!(counts(&profile).ends_with(missed));
    }

    #[test]
    fn a_part_is_called_a_part() {
        let mut profile = example::profile();
        (profile.from, profile.to) = (2_000_000_000, 4_500_000_000);
        profile.samples.truncate(3);
        assert!(origin(&profile).contains("2.00 s to 4.50 s of 10.0 s"));
        assert!(counts(&profile).starts_with("3 of 23 samples"));
    }
}
