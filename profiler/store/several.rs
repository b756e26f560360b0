//! Several sources shown as one: `cpu,offcpu` is all of the time of a thread, on the CPU and off it.

use anyhow::{Result, bail};

use crate::model::{SourceInfo, Stats, ValueType};

/// The sources that together are the time of a thread.
const WALL: [&str; 2] = ["cpu", "offcpu"];

/// The names in `word`.
pub fn names(word: &str) -> impl Iterator<Item = &str> {
    word.split(',').map(str::trim)
}

/// What shows `sources` as one.
///
/// # Errors
/// They have no sum: not the same unit, memory that is freed, or one that holds what another does.
pub fn together(sources: &[SourceInfo]) -> Result<SourceInfo> {
    let [first, ..] = sources else { bail!("no source is named") };
    let name = |source: &SourceInfo| source.name.clone();
    let words = sources.iter().map(name).collect::<Vec<_>>();
    if let Some(other) =
        sources.iter().find(|other| other.held || other.value.unit != first.value.unit)
    {
        let (a, b) = (&first.value.unit, &other.value.unit);
        bail!("{} has no sum: one tells {a} and {} tells {b}", words.join(","), other.name);
    }
    if ["runqlat", "offcpu"].iter().all(|word| words.iter().any(|name| name == word)) {
        bail!("waits for a CPU are in offcpu already: offcpu and runqlat have no sum");
    }
    if let Some(twice) = words.iter().enumerate().find(|(at, name)| words[..*at].contains(name)) {
        bail!("source {} is named twice", twice.1);
    }
    let is_wall =
        words.len() == WALL.len() && WALL.iter().all(|wall| words.iter().any(|name| name == wall));
    let events: Vec<&str> = sources.iter().map(|source| &*source.event).collect();
    Ok(SourceInfo {
        name: words.join(","),
        event: events.join(", "),
        frequency: 0,
        period: sources.iter().map(|source| source.period).max().unwrap_or_default(),
        count: ValueType::new("samples", "count"),
        value: match is_wall {
            true => ValueType::new("wall", &first.value.unit),
            false => ValueType::new(&words.join("_"), &first.value.unit),
        },
        held: false,
    })
}

/// The counts of another source of the same recording, for a sum that has those of the first: what
/// is the recorder's, and not of either, is in both.
pub fn without_shared(stats: &Stats, first: &Stats) -> Stats {
    let mut own = stats.clone();
    own.overhead.cpu_seconds = 0.0;
    own.missed.retain(|what, count| first.missed.get(what) != Some(count));
    own.rates.clear();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, value: &str, unit: &str) -> SourceInfo {
        let value = ValueType::new(value, unit);
        SourceInfo { name: name.into(), period: 7, value, ..SourceInfo::default() }
    }

    #[test]
    fn what_has_a_sum_and_what_has_none() {
        let (cpu, offcpu) =
            (source("cpu", "cpu", "nanoseconds"), source("offcpu", "off_cpu", "nanoseconds"));
        let wall = together(&[cpu.clone(), offcpu.clone()]).unwrap();
        assert_eq!((&*wall.name, &*wall.value.name, wall.period), ("cpu,offcpu", "wall", 7));
        let runqlat = source("runqlat", "runqlat", "nanoseconds");
        assert_eq!(together(&[cpu.clone(), runqlat.clone()]).unwrap().value.name, "cpu_runqlat");
        let error = |sources: &[SourceInfo]| together(sources).unwrap_err().to_string();
        assert!(error(&[offcpu, runqlat]).contains("already"));
        assert!(error(&[cpu.clone(), cpu.clone()]).contains("twice"));
        assert!(error(&[cpu, source("faults", "resident_space", "bytes")]).contains("bytes"));
        assert_eq!(names("cpu, offcpu").collect::<Vec<_>>(), ["cpu", "offcpu"]);
    }
}
