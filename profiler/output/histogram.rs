//! Histograms, for people as bars and tables, for programs as JSON.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::{table, text};
use crate::{
    collector::Occurrence,
    model::{Bucket, Histogram, Interval, Key, Series},
};

/// The unit of all times.
const UNIT: &str = "nanoseconds";
/// Where bars begin with `--ms`: the power of two that is nearest to 1 ms.
const MS: u64 = 1 << 20;
/// The fewest characters that a bar may have.
const BAR: usize = 10;
/// Width of a bar where no terminal says how much room there is.
const BAR_DEFAULT: usize = 40;

/// Quantiles that are told, and their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// Histograms as text.
#[derive(Clone, Copy, Debug)]
pub struct Bars {
    /// Series to show, those with the most time.
    pub limit: usize,
    /// Bars for each of several series too, and not their figures alone.
    pub each: bool,
    /// Times in ms, and those of less than one in one bar.
    pub ms: bool,
    /// Characters of a line, if it is known.
    pub width: Option<usize>,
}

impl Bars {
    /// Writes what was measured in an interval.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, interval: &Interval, out: &mut dyn Write) -> Result<()> {
        let seconds = interval.end.saturating_sub(interval.start) as f64 / 1e9;
        let Interval { source, target, .. } = interval;
        let time = clock(interval.end);
        writeln!(out, "{time}  {source}, {}, {seconds:.1} s", text::clean(target))?;
        match &interval.series[..] {
            [] => writeln!(out, "nothing was measured")?,
            [series] => self.bars(series, out)?,
            all => self.table(all, out)?,
        }
        for (what, count) in &interval.missed {
            writeln!(out, "{what}: {}", text::thousands(*count))?;
        }
        Ok(())
    }

    fn table(&self, all: &[Series], out: &mut dyn Write) -> Result<()> {
        let shown = &all[..all.len().min(self.limit)];
        let mut columns = vec![table::right("COUNT"), table::right("TIME")];
        columns.extend(["P50", "P90", "P99", "P99.9", "MAX"].map(table::right));
        let headings: Vec<String> =
            all[0].labels.iter().map(|(key, _)| key.word().to_uppercase()).collect();
        columns.extend(headings.iter().map(|heading| table::left(heading)));
        let rows: Vec<Vec<String>> = shown.iter().map(|series| self.row(series)).collect();
        for line in table::lines(&columns, &rows, self.width) {
            writeln!(out, "{line}")?;
        }
        if all.len() > shown.len() {
            writeln!(out, "… and {} more", text::thousands((all.len() - shown.len()) as u64))?;
        }
        if self.each {
            for series in shown {
                writeln!(out)?;
                self.bars(series, out)?;
            }
        }
        Ok(())
    }

    fn row(&self, series: &Series) -> Vec<String> {
        let histogram = &series.histogram;
        let mut row = vec![text::thousands(histogram.count()), self.time(histogram.sum())];
        row.extend(QUANTILES.map(|(q, _)| self.time(histogram.quantile(q))));
        row.push(self.time(histogram.max()));
        row.extend(series.labels.iter().map(|(_, value)| text::clean(value).into_owned()));
        row
    }

    fn bars(&self, series: &Series, out: &mut dyn Write) -> Result<()> {
        let histogram = &series.histogram;
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|(key, value)| format!("{} {}", key.word(), text::clean(value)))
            .collect();
        if !labels.is_empty() {
            writeln!(out, "{}", labels.join(", "))?;
        }
        let rows = histogram.powers(if self.ms { MS } else { 0 });
        let most = rows.iter().map(|row| row.count).max().unwrap_or(1);
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|Bucket { from, to, count }| {
                vec![self.time(*from), self.time(*to), text::thousands(*count), String::new()]
            })
            .collect();
        let columns = ["FROM", "TO", "COUNT"].map(table::right);
        let lines = table::lines(&[&columns[..], &[table::left("")]].concat(), &cells, None);
        let used = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default() + 2;
        let room = self.width.map_or(BAR_DEFAULT, |width| width.saturating_sub(used).max(BAR));
        for (line, count) in
            lines.iter().zip(std::iter::once(0).chain(rows.iter().map(|r| r.count)))
        {
            writeln!(out, "{}", format!("{line:<used$}{}", bar(count, most, room)).trim_end())?;
        }
        writeln!(out, "{}", self.figures(histogram))?;
        Ok(())
    }

    /// The figures of one histogram, in a line.
    fn figures(&self, histogram: &Histogram) -> String {
        let count = text::thousands(histogram.count());
        let mean = histogram.sum() / histogram.count().max(1);
        let mut parts = vec![format!("{count} times, {} in all", self.time(histogram.sum()))];
        parts.push(format!("mean {}", self.time(mean)));
        parts.extend(
            QUANTILES.map(|(q, name)| format!("{name} {}", self.time(histogram.quantile(q)))),
        );
        parts.push(format!("max {}", self.time(histogram.max())));
        text::wrap(&parts.join(" · "), self.width.unwrap_or(usize::MAX)).join("\n")
    }

    fn time(&self, ns: u64) -> String {
        match self.ms {
            true => format!("{:.2} ms", ns as f64 / 1e6),
            false => text::quantity(ns, UNIT),
        }
    }
}

/// A time of day here, of ns since the Unix epoch.
fn clock(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// A bar of `room` characters for `most`, to an eighth of a character; never nothing for something.
fn bar(count: u64, most: u64, room: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = count as f64 / most.max(1) as f64 * 8.0 * room as f64;
    let eighths = (eighths.round() as usize).max(usize::from(count > 0));
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// What took how long, each by itself on a line: time of day, how long, and what it was; or, for
/// programs, `{"name": "gc", "unit": "nanoseconds", "time": 1, "duration": 2, "labels": {…}}` with
/// the time when it was over in ns since the Unix epoch. `unix` is what the clock of occurrences
/// was zero at.
///
/// # Errors
/// It cannot be written.
pub fn write_each(
    name: &str,
    occurrences: &[Occurrence],
    unix: u64,
    json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    for Occurrence { time, ns, labels, .. } in occurrences {
        let time = unix.saturating_add(*time);
        if json {
            let labels = labels_object(labels);
            let object = serde_json::json!({
                "name": name, "unit": UNIT, "time": time, "duration": ns, "labels": labels,
            });
            writeln!(out, "{object}")?;
        } else {
            let took = text::quantity(*ns, UNIT);
            write!(out, "{}  {took:>9}", clock(time))?;
            for (key, value) in labels {
                // A port belongs to the address before it.
                let gap = if matches!(key, Key::LocalPort | Key::RemotePort) { ":" } else { "  " };
                let v6 =
                    matches!(key, Key::LocalAddress | Key::RemoteAddress) && value.contains(':');
                match v6 {
                    true => write!(out, "{gap}[{value}]")?,
                    false => write!(out, "{gap}{}", text::clean(value))?,
                }
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

fn labels_object(labels: &[(Key, String)]) -> Value {
    labels.iter().map(|(key, value)| (key.word().to_owned(), Value::from(value.clone()))).collect()
}

/// An interval for programs, one object on one line:
///
/// ```json
/// {"name": "runqlat", "unit": "nanoseconds", "target": "whole machine", "start": 1, "end": 2,
///  "series": [{"labels": {"process": "redis-server (17)"}, "count": 3, "sum": 9000, "max": 5000,
///              "p50": 2000, "p90": 5000, "p99": 5000, "p99.9": 5000,
///              "buckets": [{"from": 1984, "to": 2048, "count": 2}]}],
///  "missed": {}}
/// ```
///
/// `start` and `end` are ns since the Unix epoch. A bucket holds times from `from` to just below
/// `to`; those with nothing in them are left out. Quantiles are right to a 32nd part, `count`,
/// `sum` and `max` are exact.
///
/// # Errors
/// It cannot be written.
pub fn write_json(interval: &Interval, out: &mut dyn Write) -> Result<()> {
    let object = Object {
        name: &interval.source,
        unit: UNIT,
        target: &interval.target,
        start: interval.start,
        end: interval.end,
        series: interval.series.iter().map(series_object).collect(),
        missed: &interval.missed,
    };
    serde_json::to_writer(&mut *out, &object)?;
    writeln!(out)?;
    Ok(())
}

#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    unit: &'a str,
    target: &'a str,
    start: u64,
    end: u64,
    series: Vec<SeriesObject>,
    missed: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct SeriesObject {
    labels: Value,
    count: u64,
    sum: u64,
    max: u64,
    #[serde(flatten)]
    quantiles: BTreeMap<&'static str, u64>,
    buckets: Vec<Bucket>,
}

fn series_object(series: &Series) -> SeriesObject {
    let histogram = &series.histogram;
    SeriesObject {
        labels: labels_object(&series.labels),
        count: histogram.count(),
        sum: histogram.sum(),
        max: histogram.max(),
        quantiles: QUANTILES.map(|(q, name)| (name, histogram.quantile(q))).into(),
        buckets: histogram.buckets().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(process: &str, times: impl IntoIterator<Item = u64>) -> Series {
        let mut histogram = Histogram::default();
        times.into_iter().for_each(|ns| histogram.add(ns));
        Series { labels: vec![(Key::Process, process.into())], histogram }
    }

    fn interval(series: Vec<Series>) -> Interval {
        Interval {
            source: "runqlat".into(),
            target: "whole machine".into(),
            start: 1_000_000_000,
            end: 3_000_000_000,
            series,
            missed: [("no room".to_owned(), 1234)].into(),
        }
    }

    const BARS: Bars = Bars { limit: 2, each: false, ms: false, width: Some(50) };

    fn text(bars: Bars, series: Vec<Series>) -> Vec<String> {
        let mut bytes = Vec::new();
        bars.write(&interval(series), &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_histogram_is_bars() {
        let times = [1500].into_iter().cycle().take(64).chain([3000; 32]).chain([9000, 700_000]);
        let lines = text(BARS, vec![series("a\x1b[m (7)", times)]);
        assert!(lines[0].ends_with("  runqlat, whole machine, 2.0 s"), "{lines:?}");
        assert_eq!(lines[1], "process a\u{fffd}[m (7)");
        assert_eq!(lines[2], "   FROM       TO  COUNT");
        assert_eq!(lines[3], "1.02 µs  2.05 µs     64  █████████████████████████");
        assert_eq!(lines[4], "2.05 µs  4.10 µs     32  ████████████▌");
        assert_eq!(lines[5], "4.10 µs  8.19 µs      0");
        assert_eq!(lines[6], "8.19 µs  16.4 µs      1  ▍");
        assert_eq!(lines[12], " 524 µs  1.05 ms      1  ▍");
        assert_eq!(lines[13], "98 times, 901 µs in all · mean 9.19 µs");
        assert!(lines.iter().all(|line| line.chars().count() <= 50), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "no room: 1,234");
    }

    #[test]
    fn several_are_a_table_and_bars_where_wanted() {
        let all = || vec![series("a (1)", [1000; 3]), series("b (2)", [5]), series("c (3)", [1])];
        let lines = text(Bars { width: None, ..BARS }, all());
        assert_eq!(
            lines[1..4],
            [
                "COUNT     TIME      P50      P90      P99    P99.9      MAX  PROCESS",
                "    3  3.00 µs  1.00 µs  1.00 µs  1.00 µs  1.00 µs  1.00 µs  a (1)",
                "    1     5 ns     5 ns     5 ns     5 ns     5 ns     5 ns  b (2)",
            ]
        );
        assert_eq!(lines[4], "… and 1 more");
        let lines = text(Bars { each: true, ..BARS }, all());
        assert!(lines.contains(&"process b (2)".to_owned()), "{lines:#?}");
        assert_eq!(text(BARS, Vec::new())[1], "nothing was measured");
    }

    #[test]
    fn milliseconds_have_one_bar_for_what_is_less() {
        let lines = text(Bars { ms: true, ..BARS }, vec![series("a", [10, 900_000, 3_000_000])]);
        assert!(lines[3].starts_with("0.00 ms  1.05 ms      2  ██"), "{lines:#?}");
        assert!(lines[5].starts_with("2.10 ms  4.19 ms      1  ██"), "{lines:#?}");
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let mut bytes = Vec::new();
        write_json(&interval(vec![series("a (1)", [1000, 1000, 5000])]), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let object: Value = serde_json::from_str(&text).unwrap();
        let series = &object["series"][0];
        assert_eq!(series["labels"]["process"], "a (1)");
        assert_eq!((&series["count"], &series["sum"]), (&3.into(), &7000.into()));
        assert_eq!((&series["max"], &series["p99.9"]), (&5000.into(), &5000.into()));
        assert_eq!(series["buckets"][0], serde_json::json!({"from": 992, "to": 1024, "count": 2}));
        assert_eq!(object["missed"]["no room"], 1234);
    }
}
