//! What every output says beside its stacks: what was measured, of whom, and what is missing.
//!
//! A profile that hides what it lost cannot be trusted, so the counts are always shown, zeros
//! included, and in the same words everywhere.

use std::time::{Duration, SystemTime};

use crate::model::{Label, Profile, ValueType};

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

/// What the profile measures: `CPU time`, `Memory in use`.
pub fn title(profile: &Profile) -> String {
    let [count, value] = [profile.count_type(), profile.value_type()];
    // Samples stand for the same as their value does.
    let shown = if profile.measure.by_count && count.name != "samples" { count } else { value };
    let memory = if profile.source.name == "kmem" { "Kernel memory" } else { "Memory" };
    match (&*shown.name, &*shown.unit) {
        ("cpu", _) => "CPU time".into(),
        ("wall", _) => "Wall-clock time".into(),
        ("runqlat", _) => "Time ready without a CPU".into(),
        ("off_cpu", _) => "Off-CPU time".into(),
        ("inuse_space", _) => format!("{memory} in use"),
        ("alloc_space", _) => format!("{memory} allocated"),
        ("inuse_objects", _) => format!("{memory} in use: objects"),
        ("alloc_objects", _) => format!("{memory} allocated: objects"),
        ("resident_space", _) => "Resident memory: growth".into(),
        (name, "nanoseconds") => format!("{} time", clean(name).replace('_', " ")),
        (name, _) => clean(name).replace('_', " "),
    }
}

/// What is counted, in words: `samples`, `objects`.
pub fn noun(count: &ValueType) -> String {
    clean(&count.noun()).into_owned()
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
    let mut parts = amount(profile);
    parts.extend([
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
    ]);
    parts.extend(stats.missed.iter().map(|(what, n)| format!("{} {}", thousands(*n), clean(what))));
    if !profile.info.complete {
        parts.push("recording not ended".into());
    }
    parts.join(" · ")
}

/// How much there is of what is shown, and of how many samples that is known.
fn amount(profile: &Profile) -> Vec<String> {
    let (count, kind) = (profile.count(), profile.count_type());
    let value = quantity(profile.value(), &profile.value_type().unit);
    let all = profile.stats.samples;
    if kind.name == "samples" {
        let of = if all > count { format!(" of {}", thousands(all)) } else { String::new() };
        return vec![format!("{}{of} samples = {value}", thousands(count))];
    }
    let samples = format!("{} samples recorded", thousands(all));
    let count = format!("{} {}", thousands(count), noun(&kind));
    if !profile.source.held {
        return vec![format!("{count} = {value}"), samples];
    }
    if !profile.measure.in_use {
        return vec![format!("{value} in {count} allocated"), samples];
    }
    let age = match profile.older {
        0 => String::new(),
        older => format!(" for {} or more", quantity(older, "nanoseconds")),
    };
    let before = "what was allocated before the recording is not known";
    vec![format!("{value} in {count} in use{age}"), samples, before.into()]
}

/// What recording cost: `rprof itself: 50.0 ms CPU · 46.0 µs in BPF, 2.00 µs a run · 19.1 MiB`.
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
    if profile.measure.in_use && profile.to > 0 && profile.to < whole {
        return format!("{} after the start of {}", seconds(profile.to), seconds(whole));
    }
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
        0 if source.period > 1 => {
            format!("{event}, a sample each {}", quantity(source.period, &source.value.unit))
        }
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
            "rprof itself: 50.0 ms CPU · 46.0 µs in BPF, 2.00 µs a run · 19.1 MiB peak memory";
        assert_eq!(cost(&profile), expected);
        profile.info.complete = false;
        profile.stats.missed.insert("maps of processes missed".into(), 4);
        let missed = "4 maps of processes missed · recording not ended";
        assert!(counts(&profile).ends_with(missed));
    }

    #[test]
    fn memory_is_told_in_its_own_words() {
        let mut profile = example::heap();
        assert_eq!(title(&profile), "Memory allocated");
        assert!(
            counts(&profile)
                .starts_with("4.04 MiB in 1,004 objects allocated · 5 samples recorded · ")
        );
        assert!(
            origin(&profile).contains(" · malloc, a sample each 512 KiB · "),
            "{}",
            origin(&profile)
        );
        profile = example::heap_in_use();
        assert_eq!(title(&profile), "Memory in use");
        let expected = "1.04 MiB in 1,001 objects in use · 5 samples recorded · what was allocated \
            before the recording is not known · ";
        assert!(counts(&profile).starts_with(expected), "{}", counts(&profile));
        (profile.to, profile.older) = (4_000_000_000, 60_000_000_000);
        assert!(counts(&profile).contains(" objects in use for 60.0 s or more · "));
        assert!(origin(&profile).contains(" · 4.00 s after the start of 10.0 s · "));
        profile.source.name = "kmem".into();
        profile.measure.by_count = true;
        assert_eq!(title(&profile), "Kernel memory in use: objects");
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
