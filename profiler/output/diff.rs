//! What got more and what got less between two profiles: a table in a terminal, and the same as
//! JSON.
//!
//! Shares of the functions' own samples are compared, since two profiles are rarely of equally
//! long times. What sampling noise explains is not shown as a change (see `model::compare`).

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use super::table::{self, left, right};
use super::tally::{Command, Function, tally};
use super::{summary, text};
use crate::model::{NameKind, Profile, Side, View, significant, z};

/// One function, or one label, on both sides. Values are in the source's unit.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Its name, as recorded.
    pub name: String,
    /// What it is; nothing for a label.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    /// Path of the binary that it is in; empty if not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary: String,
    /// Value of the base's samples that ended in it.
    pub base: u64,
    /// Value of the new samples that ended in it.
    pub new: u64,
    /// Value of the base's samples that it is in.
    pub base_total: u64,
    /// Value of the new samples that it is in.
    pub new_total: u64,
    /// By how much its share has changed: -1 to 1.
    pub change: f64,
    /// By how many standard errors.
    pub z: f64,
    /// False if sampling noise explains it.
    pub significant: bool,
}

/// Two profiles compared.
#[derive(Debug, Serialize)]
pub struct Diff {
    base: Whole,
    new: Whole,
    unit: String,
    /// Those whose share has changed most first.
    functions: Vec<Change>,
    /// As the view groups: commands, unless told otherwise.
    groups: Vec<Change>,
}

/// One side.
#[derive(Debug, Serialize)]
struct Whole {
    origin: String,
    counts: String,
    samples: u64,
    value: u64,
    #[serde(skip)]
    side: Side,
}

impl Whole {
    fn of(profile: &Profile) -> Self {
        Self {
            origin: format!("{}: {}", summary::title(profile), summary::origin(profile)),
            counts: summary::counts(profile),
            samples: profile.count(),
            value: profile.value(),
            side: Side::of(profile.samples.iter().map(|sample| (sample.count, sample.value))),
        }
    }
}

/// What a row is of: name, kind and binary.
type Key = (String, Option<NameKind>, String);
/// Own value and total of one side.
type Values = (u64, u64);

/// Compares what `view` shows of two profiles.
///
/// # Errors
/// They are of different sources.
pub fn diff(base: &Profile, new: &Profile, view: &View) -> Result<Diff> {
    let unit = &new.source.value.unit;
    if base.source.name != new.source.name || base.source.value.unit != *unit {
        bail!("{} cannot be compared with {}", new.source.name, base.source.name);
    }
    let (sides, tallies) =
        ([Whole::of(base), Whole::of(new)], [tally(base, view), tally(new, view)]);
    let rows = |part: &dyn Fn(usize) -> Vec<(Key, Values)>| changes(&sides, [part(0), part(1)]);
    let functions = rows(&|side| tallies[side].functions.iter().map(of_function).collect());
    let groups = rows(&|side| tallies[side].commands.iter().map(of_command).collect());
    let [base, new] = sides;
    Ok(Diff { base, new, unit: unit.clone(), functions, groups })
}

fn of_function(row: &Function) -> (Key, Values) {
    let key = (row.name.clone(), Some(row.kind), row.binary.clone());
    (key, (row.own_value, row.total_value))
}

fn of_command(row: &Command) -> (Key, Values) {
    ((row.name.clone(), None, String::new()), (row.value, row.value))
}

fn changes(sides: &[Whole; 2], rows: [Vec<(Key, Values)>; 2]) -> Vec<Change> {
    let mut both: BTreeMap<Key, [Values; 2]> = BTreeMap::new();
    for (side, rows) in rows.into_iter().enumerate() {
        for (key, (own, total)) in rows {
            let values = &mut both.entry(key).or_default()[side];
            // Binaries of one path may have several build ids.
            (values.0, values.1) = (values.0 + own, values.1 + total);
        }
    }
    let [base, new] = [sides[0].side, sides[1].side];
    let mut changes: Vec<Change> = both
        .into_iter()
        .map(|((name, kind, binary), [(old, old_total), (own, own_total)])| Change {
            name,
            kind: kind.map_or("", NameKind::word),
            binary,
            base: old,
            new: own,
            base_total: old_total,
            new_total: own_total,
            change: new.share(own as f64) - base.share(old as f64),
            z: z(&base, old as f64, &new, own as f64),
            significant: false,
        })
        .collect();
    // Of what has no samples of its own on either side there is nothing to test.
    let tested: Vec<usize> =
        (0..changes.len()).filter(|index| changes[*index].base + changes[*index].new > 0).collect();
    let scores: Vec<f64> = tested.iter().map(|index| changes[*index].z).collect();
    for (index, significant) in tested.into_iter().zip(significant(&scores)) {
        changes[index].significant = significant;
    }
    let rank = |change: &Change| (change.significant, change.change.abs());
    changes.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    changes
}

impl Diff {
    /// Writes it as JSON.
    ///
    /// # Errors
    /// `out` does.
    pub fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)?;
        Ok(())
    }

    /// Writes tables of at most `limit` rows: what got more, what got less, and the same of the
    /// groups that `view` makes. With `all`, also what sampling noise explains.
    ///
    /// # Errors
    /// `out` does.
    pub fn write(
        &self,
        view: &View,
        limit: usize,
        all: bool,
        width: Option<usize>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let room = width.unwrap_or(usize::MAX);
        for (side, name) in [(&self.base, "base"), (&self.new, "new")] {
            let lines = [format!("{name}: {}", side.origin), side.counts.clone()];
            for line in lines.iter().flat_map(|line| text::wrap(line, room)) {
                writeln!(out, "{line}")?;
            }
        }
        let heading = view.by.map_or("", summary::label).to_uppercase();
        let parts = [("FUNCTION", &self.functions), (&*heading, &self.groups)];
        for (heading, changes) in parts.into_iter().filter(|(heading, _)| !heading.is_empty()) {
            writeln!(out)?;
            let shown = |change: &&Change| change.significant || all && change.change != 0.0;
            let changes: Vec<&Change> = changes.iter().filter(shown).collect();
            if changes.is_empty() {
                writeln!(out, "{heading}: no change that sampling noise does not explain")?;
                continue;
            }
            for (word, sign) in [("more", 1.0), ("less", -1.0)] {
                let rows = changes.iter().filter(|change| change.change * sign > 0.0);
                let rows: Vec<&Change> = rows.copied().collect();
                if !rows.is_empty() {
                    self.table(&rows, word, heading, limit, width, out)?;
                }
            }
        }
        Ok(())
    }

    fn table(
        &self,
        rows: &[&Change],
        word: &str,
        heading: &str,
        limit: usize,
        width: Option<usize>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let word = word.to_uppercase();
        let columns = [
            right(&word),
            right("BASE"),
            right("NEW"),
            right("BASE"),
            right("NEW"),
            right("Z"),
            left(heading),
        ];
        let most = rows.iter().map(|row| row.base.max(row.new)).max().unwrap_or_default();
        let cells: Vec<Vec<String>> = rows
            .iter()
            .take(limit)
            .map(|row| {
                vec![
                    format!("{:+.2}%", 100.0 * row.change),
                    text::percent(row.base, self.base.value),
                    text::percent(row.new, self.new.value),
                    text::cell(row.base, most, &self.unit),
                    text::cell(row.new, most, &self.unit),
                    format!("{:+.1}{}", row.z, if row.significant { "" } else { "?" }),
                    text::clean(&row.name).into_owned(),
                ]
            })
            .collect();
        for line in table::lines(&columns, &cells, width) {
            writeln!(out, "{line}")?;
        }
        if rows.len() > limit {
            writeln!(out, "… and {} more", text::thousands((rows.len() - limit) as u64))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::example;

    #[test]
    fn equal_profiles_do_not_differ() {
        let profile = example::profile();
        let diff = diff(&profile, &profile, &View::default()).unwrap();
        assert!(!diff.functions.is_empty() && !diff.groups.is_empty());
        for change in diff.functions.iter().chain(&diff.groups) {
            assert_eq!((change.change, change.z, change.significant), (0.0, 0.0, false));
        }
        let mut bytes = Vec::new();
        diff.write(&View::default(), 10, false, Some(80), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("FUNCTION: no change that sampling noise"), "{text}");
    }

    #[test]
    fn what_changed_most_comes_first_and_noise_is_called_so() {
        let (base, mut new) = (example::profile(), example::profile());
        for sample in &mut new.samples[..4] {
            (sample.count, sample.value) = (100, 100 * example::PERIOD);
        }
        let diff = diff(&base, &new, &View::default()).unwrap();
        let first = &diff.functions[0];
        assert_eq!((&*first.name, first.significant), ("fast_copy", true));
        assert!(first.change > 0.6 && first.z > 4.0, "{first:?}");
        assert!(diff.functions.iter().any(|change| !change.significant));
        let mut bytes = Vec::new();
        diff.write(&View::default(), 10, true, None, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.lines().any(|line| line.contains("MORE") && line.contains("FUNCTION")));
        assert!(text.lines().any(|line| line.contains("LESS") && line.contains("FUNCTION")));
        assert!(text.lines().any(|line| line.ends_with("  fast_copy")), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn other_sources_are_not_compared() {
        let (base, mut new) = (example::profile(), example::profile());
        new.source.name = "heap".into();
        assert!(diff(&base, &new, &View::default()).is_err());
    }
}
