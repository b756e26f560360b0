//! The report: top functions in a terminal, and the same as JSON.
//!
//! A table shows what a recording is of, what is missing from it, what it cost, and the functions
//! with most samples of their own. Nothing that a profiled program chose as a name can act on the
//! terminal.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::table::{self, left, right};
use super::tally::{Command, Function, tally};
use super::{Output, summary, text};
use crate::model::{Info, NameKind, Overhead, Profile, SourceInfo, ValueType, View};

/// Functions that are shown where no limit is named.
pub const LIMIT: usize = 30;

/// Commands that are shown at most.
const COMMANDS: usize = 10;

/// Characters of a binary's name that are shown.
const BINARY: usize = 24;

/// A table for people.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Functions at most.
    pub limit: usize,
    /// Columns of the terminal, if it is one; names are cut to fit it.
    pub width: Option<usize>,
}

impl Default for Report {
    fn default() -> Self {
        Self { limit: LIMIT, width: None }
    }
}

impl Output for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        let tally = tally(profile, view);
        let by_value = view.is_by_value(profile);
        let first = format!("{}: {}", summary::title(profile), summary::origin(profile));
        let mut header = vec![first, summary::counts(profile), summary::cost(profile)];
        if !profile.others.is_empty() {
            let others: Vec<_> = profile.others.iter().map(|other| text::clean(other)).collect();
            header.push(format!("recorded as well, and shown with -s: {}", others.join(", ")));
        }
        for line in
            header.iter().flat_map(|line| text::wrap(line, self.width.unwrap_or(usize::MAX)))
        {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        self.functions(profile, by_value, &tally.functions, out)?;
        // One command has all of it, which the title says.
        if tally.commands.len() > 1 {
            writeln!(out)?;
            self.commands(profile, view, by_value, &tally.commands, out)?;
        }
        Ok(())
    }
}

impl Report {
    fn functions(
        &self,
        profile: &Profile,
        by_value: bool,
        rows: &[Function],
        out: &mut dyn Write,
    ) -> Result<()> {
        let all = if by_value { profile.value() } else { profile.count() };
        let unit = &profile.value_type().unit;
        let value = heading(unit);
        let most = rows.iter().map(|row| row.total_value).max().unwrap_or_default();
        // Where samples are not counted, what they are of is: it tells small objects from large.
        let counted = summary::noun(&profile.count_type()).to_uppercase();
        let counted = (profile.source.frequency == 0).then_some(&*counted);
        let mut columns = vec![right("SELF"), right(value)];
        columns.extend(counted.map(right));
        columns.extend([right("TOTAL"), right(value), left("BINARY"), left("FUNCTION")]);
        let cells: Vec<Vec<String>> = rows
            .iter()
            .take(self.limit)
            .map(|row| {
                let file = row.binary.rsplit('/').next().unwrap_or_default();
                let (own, total) = row.sums(by_value);
                let mut cells =
                    vec![text::percent(own, all), text::cell(row.own_value, most, unit)];
                cells.extend(counted.map(|_| text::thousands(row.own)));
                cells.extend([
                    text::percent(total, all),
                    text::cell(row.total_value, most, unit),
                    text::shorten(&text::clean(file), BINARY).into_owned(),
                    text::clean(&row.name).into_owned() + mark(row),
                ]);
                cells
            })
            .collect();
        for line in table::lines(&columns, &cells, self.width) {
            writeln!(out, "{line}")?;
        }
        more(rows.len(), self.limit, "functions", out)
    }

    fn commands(
        &self,
        profile: &Profile,
        view: &View,
        by_value: bool,
        rows: &[Command],
        out: &mut dyn Write,
    ) -> Result<()> {
        let what = view.by.map_or("", summary::label).to_uppercase();
        let counted = summary::noun(&profile.count_type()).to_uppercase();
        let unit = &profile.value_type().unit;
        let all = if by_value { profile.value() } else { profile.count() };
        let most = rows.iter().map(|row| row.value).max().unwrap_or_default();
        let columns = [right("SHARE"), right(heading(unit)), right(&counted), left(&what)];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .take(COMMANDS)
            .map(|row| {
                vec![
                    text::percent(row.sum(by_value), all),
                    text::cell(row.value, most, unit),
                    text::thousands(row.samples),
                    text::clean(&row.name).into_owned(),
                ]
            })
            .collect();
        for line in table::lines(&columns, &cells, self.width) {
            writeln!(out, "{line}")?;
        }
        more(rows.len(), COMMANDS, "more", out)
    }
}

/// What stands above values.
fn heading(unit: &str) -> &'static str {
    match unit {
        "nanoseconds" => "TIME",
        "bytes" => "SIZE",
        _ => "VALUE",
    }
}

/// What is said after a name that colour would say elsewhere; a name in brackets is no function.
fn mark(row: &Function) -> &'static str {
    match row.kind {
        _ if row.name.starts_with('[') => "",
        NameKind::Kernel => " [kernel]",
        NameKind::Jit => " [JIT]",
        NameKind::Inlined => " [inlined]",
        NameKind::User | NameKind::Unknown | NameKind::Note => "",
    }
}

/// Says how many rows there are beyond those shown.
fn more(all: usize, shown: usize, what: &str, out: &mut dyn Write) -> Result<()> {
    if all > shown {
        writeln!(out, "… and {} more {what}", text::thousands((all - shown) as u64))?;
    }
    Ok(())
}

/// The report for programs, with all functions:
///
/// ```json
/// {"info": {…}, "source": {…}, "others": ["heap"], "count_type": {"name": "samples", "unit": "count"},
///  "value_type": {"name": "cpu", "unit": "nanoseconds"}, "samples": 990, "value": 9999999900, "lost": 0, "truncated": 0,
///  "complete": 0.9995, "unwind_failed": {"reason": 1}, "kernel_failed": 0, "unsymbolized_frames": 0, "missed": {},
///  "self": {"cpu_seconds": 0.05, "bpf_ns": 46000, "bpf_runs": 23, "peak_rss_bytes": 20000000},
///  "functions": [{"name", "kind", "binary", "self", "total", "self_value", "total_value"}],
///  "commands": [{"name", "samples", "value"}]}
/// ```
///
/// `samples` and `value` are of what the view shows, and are what `count_type` and `value_type` say;
/// what was counted while recording is of the whole recording. Most self first.
#[derive(Clone, Copy, Debug)]
pub struct ReportJson;

#[derive(Serialize)]
struct File<'a> {
    info: &'a Info,
    source: &'a SourceInfo,
    others: &'a [String],
    count_type: ValueType,
    value_type: ValueType,
    samples: u64,
    value: u64,
    lost: u64,
    truncated: u64,
    complete: f64,
    unwind_failed: &'a BTreeMap<String, u64>,
    kernel_failed: u64,
    unsymbolized_frames: u64,
    missed: &'a BTreeMap<String, u64>,
    #[serde(rename = "self")]
    overhead: Overhead,
    functions: Vec<Function>,
    commands: Vec<Command>,
}

impl Output for ReportJson {
    fn name(&self) -> &'static str {
        "report-json"
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        let tally = tally(profile, view);
        let stats = &profile.stats;
        let file = File {
            info: &profile.info,
            source: &profile.source,
            others: &profile.others,
            count_type: profile.count_type(),
            value_type: profile.value_type(),
            samples: profile.count(),
            value: profile.value(),
            lost: stats.lost,
            truncated: stats.truncated,
            complete: stats.complete(),
            unwind_failed: &stats.unwind_failed,
            kernel_failed: stats.kernel_failed,
            unsymbolized_frames: stats.unsymbolized_frames,
            missed: &stats.missed,
            overhead: stats.overhead,
            functions: tally.functions,
            commands: tally.commands,
        };
        serde_json::to_writer(&mut *out, &file)?;
        writeln!(out)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::output::example;

    fn write(output: &dyn Output) -> String {
        let mut bytes = Vec::new();
        output.write(&example::profile(), &View::default(), &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_table_lines_up_and_stays_within_the_terminal() {
        let text = write(&Report { limit: 4, width: Some(66) });
        let lines: Vec<&str> = text.lines().collect();
        let table = lines.iter().position(|line| line.contains("FUNCTION")).unwrap();
        assert_eq!(
            lines[table..],
            [
                "  SELF      TIME   TOTAL      TIME  BINARY     FUNCTION",
                "30.43%  70.71 ms  30.43%  70.71 ms  app        fast_copy [inlined]",
                "21.74%  50.51 ms  21.74%  50.51 ms  [jit]      [jit]",
                "17.39%  40.40 ms  17.39%  40.40 ms  libc.so.6  memcpy",
                " 8.70%  20.20 ms   8.70%  20.20 ms  libfoo.so  [libfoo.so]",
                "… and 10 more functions",
                "",
                " SHARE       TIME  SAMPLES  COMMAND",
                "78.26%  181.82 ms       18  app",
                "21.74%   50.51 ms        5  node",
            ]
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 66), "{text}");
    }

    #[test]
    fn memory_has_sizes_and_objects() {
        let mut bytes = Vec::new();
        let mut profile = example::heap_in_use();
        profile.others = vec!["cpu".into(), "fau\x1blts".into()];
        Report::default().write(&profile, &View::default(), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let table: Vec<&str> = text.lines().skip_while(|line| !line.contains("SELF")).collect();
        assert_eq!(
            table,
            [
                "  SELF      SIZE  OBJECTS    TOTAL      SIZE  BINARY  FUNCTION",
                "96.33%  1.00 MiB        1   96.33%  1.00 MiB  app     cache",
                " 3.67%  0.04 MiB    1,000    3.67%  0.04 MiB  app     leak",
                " 0.00%  0.00 MiB        0  100.00%  1.04 MiB  app     main",
            ]
        );
        assert!(text.contains("shown with -s: cpu, fau\u{fffd}lts\n"), "{text}");
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        let text = write(&Report::default());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("</title><script>alert(1)</script>;\"'&\u{fffd}[31m"));
    }

    #[test]
    fn json_has_the_counts() {
        let file: Value = serde_json::from_str(&write(&ReportJson)).unwrap();
        assert_eq!(file["samples"], 23);
        assert_eq!(file["unwind_failed"]["no frame pointer"], 3);
        assert_eq!(file["self"]["bpf_runs"], 23);
        let first = &file["functions"][0];
        assert_eq!((&first["name"], &first["kind"]), (&"fast_copy".into(), &"inlined".into()));
        assert_eq!((&first["self"], &first["total"]), (&7.into(), &7.into()));
        assert_eq!(file["commands"][0]["name"], "app");
    }
}
