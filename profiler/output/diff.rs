//! What got more and what got less between two profiles: a table in a terminal, and the same as
//! JSON.
//!
//! Shares of the functions' own samples are compared, since two profiles are rarely of equally
//! long times. Memory in use is there or is not, however long was recorded, so of that the amounts
//! are compared: what grew, and by how much. What sampling noise explains is not shown as a change
//! (see `model::compare`).

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use super::table::{self, left, right};
use super::tally::{Command, Function, Tally, tally};
use super::{Verdict, summary, text};
use crate::model::{
    Measure, NameKind, Profile, Side, SourceInfo, View, difference_z, significant, z,
};

/// One function, or one label, on both sides. Values are in the unit of what is compared.
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
    /// By how much its share has changed: -1 to 1. Of memory in use, by how much itself has.
    pub change: f64,
    /// By how many standard errors.
    pub z: f64,
    /// False if sampling noise explains it.
    pub significant: bool,
}

/// Two profiles compared.
#[derive(Debug, Serialize)]
pub struct Diff {
    pub(super) base: Whole,
    pub(super) new: Whole,
    /// What is compared.
    #[serde(rename = "type")]
    value_type: String,
    pub(super) unit: String,
    /// True if changes are of amounts, and not of shares.
    pub(super) of_amounts: bool,
    #[serde(skip)]
    pub(super) by_count: bool,
    /// Those whose share has changed most first.
    pub(super) functions: Vec<Change>,
    /// As the view groups: commands, unless told otherwise.
    groups: Vec<Change>,
}

/// One side.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    pub(super) origin: String,
    pub(super) counts: String,
    samples: u64,
    value: u64,
    #[serde(skip)]
    pub(super) side: Side,
}

impl Whole {
    fn of(profile: &Profile) -> Self {
        let (source, by_count) = (&profile.source, profile.measure.by_count);
        let samples = profile.samples.iter().map(|sample| {
            let samples = source.samples_in(sample.count, sample.value);
            (samples, if by_count { sample.count } else { sample.value })
        });
        Self {
            origin: format!("{}: {}", summary::title(profile), summary::origin(profile)),
            counts: summary::counts(profile),
            samples: profile.count(),
            value: profile.value(),
            side: Side::of(samples),
        }
    }

    /// What is compared.
    pub(super) fn amount(&self, by_count: bool) -> u64 {
        if by_count { self.samples } else { self.value }
    }
}

/// What a row is of: name, kind and binary.
type Key = (String, Option<NameKind>, String);

/// What a row has on one side.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Count and value that end in it.
    own: (u64, u64),
    /// Count and value that it is in.
    total: (u64, u64),
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.own = (self.own.0 + other.own.0, self.own.1 + other.own.1);
        self.total = (self.total.0 + other.total.0, self.total.1 + other.total.1);
    }
}

/// Two profiles of one source, and what tells their rows apart from noise.
struct Comparison<'a> {
    source: &'a SourceInfo,
    measure: Measure,
    sides: [Side; 2],
}

/// Compares what `view` shows of two profiles. Of memory in use at two times of one recording,
/// `common` is what was in use at the earlier one and still is at the later: it is the same on both
/// sides, and adds nothing to the noise of their difference.
///
/// # Errors
/// They are of different sources or values.
pub fn diff(base: &Profile, new: &Profile, common: Option<&Profile>, view: &View) -> Result<Diff> {
    let source = &new.source;
    if base.source.name != source.name || base.value_type() != new.value_type() {
        bail!("{} cannot be compared with {}", source.name, base.source.name);
    }
    let whole = [Whole::of(base), Whole::of(new)];
    let measure = new.measure;
    let comparison = Comparison { source, measure, sides: [whole[0].side, whole[1].side] };
    let tallies = [Some(base), Some(new), common].map(|one| one.map(|one| tally(one, view)));
    let rows = |part: &dyn Fn(&Tally) -> Vec<(Key, Sums)>| {
        comparison.changes(tallies.each_ref().map(|one| one.as_ref().map(part).unwrap_or_default()))
    };
    let functions = rows(&|tally| tally.functions.iter().map(of_function).collect());
    let groups = rows(&|tally| tally.commands.iter().map(of_command).collect());
    let [base, new] = whole;
    let shown = measure.value_type(source);
    let Measure { by_count, in_use: of_amounts } = measure;
    let (value_type, unit) = (shown.name, shown.unit);
    Ok(Diff { base, new, value_type, unit, of_amounts, by_count, functions, groups })
}

fn of_function(row: &Function) -> (Key, Sums) {
    let key = (row.name.clone(), Some(row.kind), row.binary.clone());
    (key, Sums { own: (row.own, row.own_value), total: (row.total, row.total_value) })
}

fn of_command(row: &Command) -> (Key, Sums) {
    let sums = (row.samples, row.value);
    ((row.name.clone(), None, String::new()), Sums { own: sums, total: sums })
}

impl Comparison<'_> {
    /// Rows of the base, the new profile and what both have.
    fn changes(&self, rows: [Vec<(Key, Sums)>; 3]) -> Vec<Change> {
        let mut all: BTreeMap<Key, [Sums; 3]> = BTreeMap::new();
        for (side, rows) in rows.into_iter().enumerate() {
            for (key, sums) in rows {
                // Binaries of one path may have several build ids.
                all.entry(key).or_default()[side] += sums;
            }
        }
        let both = |(_, [base, new, _]): &(Key, [Sums; 3])| base.total.0 + new.total.0 > 0;
        let mut changes: Vec<Change> =
            all.into_iter().filter(both).map(|(key, sums)| self.change(key, sums)).collect();
        // Of what has no samples of its own on either side there is nothing to test.
        let tested: Vec<usize> = (0..changes.len())
            .filter(|index| changes[*index].base + changes[*index].new > 0)
            .collect();
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

    fn change(&self, (name, kind, binary): Key, [old, own, same]: [Sums; 3]) -> Change {
        let of = |sums: (u64, u64)| if self.measure.by_count { sums.0 } else { sums.1 };
        let (base, new) = (of(old.own), of(own.own));
        let [old_side, new_side] = &self.sides;
        let (change, z) = match self.measure.in_use {
            true => {
                let change = new as f64 - base as f64;
                (change, difference_z(change, self.squares(old, same) + self.squares(own, same)))
            }
            false => (
                new_side.share(new as f64) - old_side.share(base as f64),
                z(old_side, base as f64, new_side, new as f64),
            ),
        };
        Change {
            name,
            kind: kind.map_or("", NameKind::word),
            binary,
            base,
            new,
            base_total: of(old.total),
            new_total: of(own.total),
            change,
            z,
            significant: false,
        }
    }

    /// Sum of the squared weights of the samples that one side alone has.
    fn squares(&self, side: Sums, same: Sums) -> f64 {
        let count = side.own.0.saturating_sub(same.own.0);
        let value = side.own.1.saturating_sub(same.own.1);
        let amount = if self.measure.by_count { count } else { value } as f64;
        let samples = self.source.samples_in(count, value);
        if samples > 0.0 { amount * amount / samples } else { 0.0 }
    }
}

impl Diff {
    /// True if amounts are compared, and not shares.
    pub fn is_of_amounts(&self) -> bool {
        self.of_amounts
    }

    /// Writes it as JSON, with the verdict if there is one.
    ///
    /// # Errors
    /// `out` does.
    pub fn write_json(&self, verdict: Option<&Verdict>, out: &mut dyn Write) -> Result<()> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            diff: &'a Diff,
            #[serde(skip_serializing_if = "Option::is_none")]
            verdict: Option<&'a Verdict>,
        }
        serde_json::to_writer(&mut *out, &Whole { diff: self, verdict })?;
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
        let mut columns = vec![right(&word), right("BASE"), right("NEW")];
        if !self.of_amounts {
            columns.extend([right("BASE"), right("NEW")]);
        }
        columns.extend([right("Z"), left(heading)]);
        let cells: Vec<Vec<String>> =
            rows.iter().take(limit).map(|row| self.cells(row, rows)).collect();
        for line in table::lines(&columns, &cells, width) {
            writeln!(out, "{line}")?;
        }
        if rows.len() > limit {
            writeln!(out, "… and {} more", text::thousands((rows.len() - limit) as u64))?;
        }
        Ok(())
    }

    /// The cells of one of `rows`.
    fn cells(&self, row: &Change, rows: &[&Change]) -> Vec<String> {
        let most = rows.iter().map(|row| row.base.max(row.new)).max().unwrap_or_default();
        let amounts = [row.base, row.new].map(|value| text::cell(value, most, &self.unit));
        let mut cells = match self.of_amounts {
            true => {
                let sign = if row.change < 0.0 { '-' } else { '+' };
                vec![format!("{sign}{}", text::cell(row.base.abs_diff(row.new), most, &self.unit))]
            }
            false => vec![
                format!("{:+.2}%", 100.0 * row.change),
                text::percent(row.base, self.base.amount(self.by_count)),
                text::percent(row.new, self.new.amount(self.by_count)),
            ],
        };
        cells.extend(amounts);
        cells.push(format!("{:+.1}{}", row.z, if row.significant { "" } else { "?" }));
        cells.push(text::clean(&row.name).into_owned());
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ValueType, output::example};

    #[test]
    fn equal_profiles_do_not_differ() {
        let profile = example::profile();
        let diff = diff(&profile, &profile, None, &View::default()).unwrap();
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
        let diff = diff(&base, &new, None, &View::default()).unwrap();
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

    /// A heap whose stacks hold so many objects of 1 MiB each, sampled every 512 KiB.
    fn heap(objects: [u64; 2]) -> Profile {
        let mut profile = example::empty();
        for (name, objects) in ["cache", "leak"].into_iter().zip(objects) {
            example::add(&mut profile, &["main", name]);
            if let Some(sample) = profile.samples.last_mut() {
                (sample.count, sample.value) = (objects, objects << 20);
            }
        }
        profile.source = SourceInfo {
            name: "heap".into(),
            period: 512 << 10,
            held: true,
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            ..SourceInfo::default()
        };
        profile.measure.in_use = true;
        profile
    }

    #[test]
    fn of_memory_in_use_amounts_are_compared() {
        let (base, new, common) = (heap([1000, 10]), heap([1000, 18]), heap([1000, 10]));
        let view = View::default();
        // By itself each side's share is as good as the same, and so is the sum.
        let known = diff(&base, &new, Some(&common), &view).unwrap();
        let leak = &known.functions[0];
        assert_eq!(
            (&*leak.name, leak.change, leak.significant),
            ("leak", f64::from(8 << 20), true)
        );
        // 8 MiB are 16 samples.
        assert_eq!(leak.z, 4.0);
        let cache = known.functions.iter().find(|change| change.name == "cache").unwrap();
        assert_eq!((cache.change, cache.z, cache.significant), (0.0, 0.0, false));
        // Of two recordings nothing is known to be the same: sqrt(2 * (10 + 18)) samples.
        let apart = diff(&base, &new, None, &view).unwrap();
        assert!((apart.functions[0].z - 16.0 / 56f64.sqrt()).abs() < 1e-9);
        let mut bytes = Vec::new();
        known.write(&view, 10, false, None, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("+8.00 MiB  10.00 MiB  18.00 MiB  +4.0  leak"), "{text}");
        assert!(text.starts_with("base: Memory in use: "), "{text}");
    }

    #[test]
    fn other_sources_are_not_compared() {
        let (base, mut new) = (example::profile(), example::profile());
        new.source.name = "heap".into();
        assert!(diff(&base, &new, None, &View::default()).is_err());
        let (base, mut new) = (heap([1, 1]), heap([1, 1]));
        new.measure.in_use = false;
        assert!(diff(&base, &new, None, &View::default()).is_err());
    }
}
