//! The questions, one by one.

use std::{ops::Range, sync::Arc, time::Instant};

use serde::Serialize;
use web::{Answer, Reason, Refusal};

use super::{
    JSON, broken,
    data::{Asked, Data},
    invalid, lanes, refusal,
    words::{Base, Words},
};
use crate::{
    model::{Measure, SourceInfo, ValueType, View},
    output,
    query::{self, Lane, Mark, Points, Shown, Sides, StacksLane, Weights},
    store::{Series, Store},
};

/// How many boxes of a flame graph are drawn by themselves, if not said otherwise.
const NODES: usize = 4000;
/// Rows of a table.
const ROWS: usize = 1000;
const ROWS_MAX: usize = 100_000;
/// Values of a label.
const VALUES: usize = 100;
const VALUES_MAX: usize = 10_000;
/// Columns and series of a time line.
const COLUMNS: usize = 600;
const SERIES: usize = 10;
/// Time without a recording that is marked as a gap, ns.
const GAP: u64 = 15_000_000_000;
/// Marks of a time line; what happened before is not marked.
const MARKS: usize = 1000;

/// A question that is being answered.
pub struct Question<'a> {
    /// What there is.
    pub data: &'a mut Data,
    /// When the answer is of no use any more.
    pub until: Instant,
}

impl Question<'_> {
    /// The answer to the question `name`.
    ///
    /// # Errors
    /// There is none, and why.
    pub fn answer(&mut self, name: &str, words: &[(String, String)]) -> Result<Answer, Refusal> {
        let words = |own: &[&str]| Words::read(words, own);
        let bytes = match name {
            "recording" => words(&[]).and_then(|_| self.recording()),
            "stats" => words(&[]).and_then(|words| self.stats(&words.view)),
            "timeline" => {
                words(&["columns", "top", "marks"]).and_then(|words| self.timeline(&words))
            }
            "marks" => words(&["name", "text", "limit"]).and_then(|words| self.marks(&words)),
            "processes" => words(&["limit"]).and_then(|words| self.processes(&words)),
            "heatmap" => words(&[]).and_then(|words| self.heatmap(&words.view)),
            "flamegraph" => words(&["nodes"]).and_then(|words| self.flamegraph(&words)),
            "table" => words(&["limit"]).and_then(|words| self.table(&words)),
            "sandwich" => words(&["function", "nodes"]).and_then(|words| self.sandwich(&words)),
            "labels" => words(&["label", "limit"]).and_then(|words| self.labels(&words)),
            "export" => return words(&["format"]).and_then(|words| self.export(&words)),
            "healthz" => words(&[]).and_then(|_| self.health()),
            _ => return Err(Refusal::new(Reason::Missing, "no such question; see docs/api.md")),
        };
        Ok(Answer { content: JSON, bytes: bytes?, file: None })
    }

    fn recording(&mut self) -> Result<Vec<u8>, Refusal> {
        let compared = match self.data.stores() {
            2 => {
                let time = self.data.store(1).map_err(broken)?.time();
                Some(query::Span { start: time.start as f64 / 1e6, end: time.end as f64 / 1e6 })
            }
            _ => None,
        };
        let store = self.data.store(0).map_err(broken)?;
        let live = store.spans().last().is_some_and(|span| !span.complete);
        let mut summary = query::summary(&store.info(), &store.sources(), live, &store.remarks());
        summary.lanes = store.lanes();
        summary.base = compared;
        json(&summary)
    }

    fn health(&mut self) -> Result<Vec<u8>, Refusal> {
        self.data.store(0).map_err(broken)?;
        json(&serde_json::json!({ "status": "ok" }))
    }

    fn stats(&mut self, view: &View) -> Result<Vec<u8>, Refusal> {
        let Subject { source, time, .. } = self.subject(0, view)?;
        let store = self.data.store(0).map_err(broken)?;
        let mut stats = store.stats(&source.name, &time);
        // Counters are of whole recordings, and so is this one. The question makes the store read
        // their names.
        store.series(&source.name, &time, 1);
        stats.unsymbolized_frames = query::unnamed(store.tables());
        let spans = store.spans();
        let touched = spans.iter().filter(|span| touches(&span.time, &time));
        let duration = touched.map(|span| span.time.end - span.time.start).sum();
        json(&query::honesty(&stats, &source, store.time().start, duration))
    }

    fn timeline(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let view = &words.view;
        let subject = self.subject(0, view)?;
        let shown = subject.shown(view);
        let mut time = subject.time.clone();
        let columns = words.number("columns", COLUMNS, query::COLUMNS_MAX)?;
        let top = words.number("top", SERIES, usize::MAX)?;
        let store = self.data.store(0).map_err(broken)?;
        let mut width = columns;
        let points = match series(store, shown, &time, columns) {
            Some((points, range)) => {
                width = range.columns;
                time = range.time();
                points
            }
            None if shown.measure.in_use => self.in_use(shown, &time)?,
            None => self.points(shown, &time)?,
        };
        let mut line = query::timeline(&points, &time, width, top);
        line.unit = subject.unit();
        let store = self.data.store(0).map_err(broken)?;
        line.cpus = store.info().cpus;
        let most = words.number("marks", lanes::MARKS, usize::MAX)?;
        let others = View::default();
        for other in store.sources().iter().filter(|other| other.name != subject.source.name) {
            let measure = others.measure(other).unwrap_or_default();
            let shown = Shown { view: &others, source: other, measure };
            let points = series(store, shown, &time, columns);
            let values = points.map(|(points, _)| query::lane(&points, &time, width));
            let value_type = measure.value_type(other);
            line.lanes.push(Lane::Stacks(StacksLane {
                source: other.name.clone(),
                kind: "stacks",
                unit: unit(&value_type),
                value_type: value_type.name,
                in_use: measure.in_use,
                values: values.unwrap_or_default(),
            }));
        }
        line.lanes.extend(self.lanes(view, &time, width, most)?);
        line.marks = self.of_recording(&subject.source, &time)?;
        json(&line)
    }

    /// What happened to the recording itself.
    fn of_recording(
        &mut self,
        source: &SourceInfo,
        time: &Range<u64>,
    ) -> Result<Vec<Mark>, Refusal> {
        let store = self.data.store(0).map_err(broken)?;
        let ms = |ns: u64| ns as f64 / 1e6;
        let mark = |at, kind: &str, text: &str| Mark {
            time: ms(at),
            kind: kind.into(),
            text: text.into(),
            ..Mark::default()
        };
        let mut marks = Vec::new();
        let mut before: Option<u64> = None;
        for span in store.spans() {
            marks.push(mark(span.time.start, "start", "recording starts"));
            if let Some(end) = before.filter(|end| span.time.start > end.saturating_add(GAP)) {
                let end_of_gap = Some(ms(span.time.start));
                let gap = mark(end, "gap", "nothing was recorded");
                marks.push(Mark { end: end_of_gap, ..gap });
            }
            if span.complete {
                marks.push(mark(span.time.end, "stop", "recording ends"));
            }
            before = before.max(Some(span.time.end));
        }
        let stats = store.stats(&source.name, time);
        for (from, hz) in &stats.rates {
            let text = format!("sampled at {hz} Hz from here on");
            marks.push(mark(store.time().start.saturating_add(*from), "rate", &text));
        }
        let shown = ms(time.start)..=ms(time.end);
        marks.retain(|mark| {
            shown.contains(&mark.time)
                || mark.end.is_some_and(|end| end > *shown.start() && mark.time < *shown.end())
        });
        marks.sort_by(|a, b| a.time.total_cmp(&b.time));
        marks.drain(..marks.len().saturating_sub(MARKS));
        Ok(marks)
    }

    fn heatmap(&mut self, view: &View) -> Result<Vec<u8>, Refusal> {
        let subject = self.subject(0, view)?;
        let time = &subject.time;
        let seconds = query::heatmap_range(time);
        let part = time.start.max(seconds.start)..time.end;
        let points = match subject.measure.in_use {
            true => self.born(subject.shown(view), &part)?,
            false => self.points(subject.shown(view), &part)?,
        };
        let mut map = query::heatmap(&points, &seconds);
        map.unit = subject.unit();
        json(&map)
    }

    fn flamegraph(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let nodes = words.number("nodes", NODES, query::BOXES_MAX)?;
        let compared = self.weights(words)?;
        let (names, scratch) = self.data.tree();
        let sides = compared.sides();
        let graph = query::flamegraph(names, &words.view, &sides, nodes, self.until, scratch);
        let mut graph = graph.map_err(refusal)?;
        graph.unit = compared.unit;
        json(&graph)
    }

    fn table(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let limit = words.number("limit", ROWS, ROWS_MAX)?;
        let compared = self.weights(words)?;
        let Some((_, names)) = self.data.part(0) else { return Err(gone()) };
        let mut table = query::table(names, &compared.sides(), limit);
        table.unit = compared.unit;
        json(&table)
    }

    fn sandwich(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let nodes = words.number("nodes", NODES, query::BOXES_MAX)?;
        let name = words.text("function");
        let name = name.ok_or_else(|| invalid("say which function: function=NAME"))?;
        let compared = self.weights(words)?;
        let Some((_, names)) = self.data.part(0) else { return Err(gone()) };
        let sandwich = query::sandwich(names, &compared.sides(), name, nodes, self.until);
        let mut sandwich = sandwich.map_err(refusal)?;
        sandwich.callers.unit.clone_from(&compared.unit);
        sandwich.callees.unit = compared.unit;
        json(&sandwich)
    }

    fn labels(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let limit = words.number("limit", VALUES, VALUES_MAX)?;
        let label = words.label()?;
        let view = View { by: Some(label), ..words.view.clone() };
        let weights = self.sums(0, &view)?.1;
        json(&query::labels(&weights, label, limit))
    }

    fn export(&mut self, words: &Words) -> Result<Answer, Refusal> {
        let named = |name: &str| output::find(name).ok_or_else(|| invalid("no such format"));
        let format = words.text("format").unwrap_or_default();
        let (output, content, end): (&dyn output::Output, _, _) = match format {
            "svg" => (&output::Flamegraph, "image/svg+xml", "svg"),
            "pprof" => (named(format)?, "application/octet-stream", "pb.gz"),
            "folded" => (named(format)?, "text/plain; charset=utf-8", "folded"),
            "speedscope" => (named(format)?, JSON, "speedscope.json"),
            "firefox" => (named(format)?, JSON, "firefox.json"),
            "json" => (named(format)?, JSON, "json"),
            _ => {
                let words = "say which format: svg, pprof, folded, speedscope, firefox or json";
                return Err(invalid(words));
            }
        };
        let Subject { source, .. } = self.subject(0, &words.view)?;
        let store = self.data.store(0).map_err(broken)?;
        let nothing = || Refusal::new(Reason::Missing, "no samples match what was asked for");
        if store.sources().is_empty() {
            return Err(nothing());
        }
        let profile = store.profile(&words.view, output.detail()).map_err(broken)?;
        if profile.samples.is_empty() && profile.in_use.is_empty() {
            return Err(nothing());
        }
        let mut bytes = Vec::new();
        output.write(&profile, &words.view, &mut bytes).map_err(broken)?;
        Ok(Answer { content, bytes, file: Some(format!("{}.{end}", source.name)) })
    }

    /// What a view is of. Where nothing was recorded yet, a view of nothing is no error.
    fn subject(&mut self, which: usize, view: &View) -> Result<Subject, Refusal> {
        let store = self.data.store(which).map_err(broken)?;
        let source = match (&view.source, store.sources().is_empty()) {
            (None, true) => SourceInfo::default(),
            _ => store
                .source_of(view)
                .map_err(|error| Refusal::new(Reason::Missing, format!("{error:#}")))?,
        };
        let wrong = |error: anyhow::Error| invalid(format!("{error:#}"));
        let measure = view.measure(&source).map_err(wrong)?;
        let time = self.data.range(which, view).map_err(wrong)?;
        Ok(Subject { source, measure, time })
    }

    /// What the view shows, and its base.
    fn weights(&mut self, words: &Words) -> Result<Compared, Refusal> {
        let (subject, now) = self.sums(0, &words.view)?;
        let (unit, in_use) = (subject.unit(), subject.measure.in_use);
        let is_memory = subject.source.is_memory();
        let Some(base) = &words.base else {
            return Ok(Compared { unit, in_use, is_memory, now, base: None, common: None });
        };
        let (other, sums) = self.base(base)?;
        let common = if base.other { None } else { self.common(&words.view, &subject, &other)? };
        Ok(Compared { unit, in_use, is_memory, now, base: Some(sums), common })
    }

    /// What is in use at two times of one recording, if that is asked for.
    fn common(
        &mut self,
        view: &View,
        now: &Subject,
        base: &Subject,
    ) -> Result<Option<Arc<Weights>>, Refusal> {
        let store = self.data.store(0).map_err(broken)?;
        let since = |at| store.in_use_since(&now.source.name, at);
        let (first, last) = (now.time.end.min(base.time.end), now.time.end.max(base.time.end));
        if !now.measure.in_use || since(first) != since(last) {
            return Ok(None);
        }
        let older = view.older.unwrap_or_default().saturating_add(last - first);
        let view = View { older: Some(older), ..view.clone() };
        let (shown, time) = (now.shown(&view), &(now.time.start.min(last)..last));
        self.data.weights(Asked { which: 0, shown, time, until: self.until }).map(Some)
    }

    fn base(&mut self, base: &Base) -> Result<(Subject, Arc<Weights>), Refusal> {
        let which = usize::from(base.other);
        if which >= self.data.stores() {
            let words = "there is no other recording to compare with; rprof web NEW --base OLD";
            return Err(invalid(words));
        }
        self.sums(which, &base.view)
    }

    fn sums(&mut self, which: usize, view: &View) -> Result<(Subject, Arc<Weights>), Refusal> {
        let subject = self.subject(which, view)?;
        let (shown, time) = (subject.shown(view), &subject.time);
        let sums = self.data.weights(Asked { which, shown, time, until: self.until })?;
        Ok((subject, sums))
    }
}

/// What a view is of.
struct Subject {
    source: SourceInfo,
    measure: Measure,
    time: Range<u64>,
}

impl Subject {
    fn shown<'a>(&'a self, view: &'a View) -> Shown<'a> {
        Shown { view, source: &self.source, measure: self.measure }
    }

    /// The unit of values: of what is no sample, what is counted.
    fn unit(&self) -> String {
        unit(&self.measure.value_type(&self.source))
    }
}

/// What is shown of a time in columns, as far as series know it, and the columns.
fn series(
    store: &mut Store,
    shown: Shown<'_>,
    time: &Range<u64>,
    columns: usize,
) -> Option<(Points, Series)> {
    let source = &shown.source.name;
    let (points, mut series) = if shown.measure.in_use {
        let series = store.in_use_series(source, time, columns);
        (Points::in_use(&series, store.tables(), shown), series.taken)
    } else {
        let series = store.series(source, time, columns);
        (Points::of_series(&series, store.tables(), shown), series)
    };
    series.cells = Vec::new();
    Some((points?, series))
}

fn unit(value_type: &ValueType) -> String {
    match &*value_type.unit {
        "count" if value_type.name != "samples" => value_type.noun(),
        unit => unit.to_owned(),
    }
}

/// What a view shows, its base, and what both have in use.
struct Compared {
    unit: String,
    in_use: bool,
    is_memory: bool,
    now: Arc<Weights>,
    base: Option<Arc<Weights>>,
    common: Option<Arc<Weights>>,
}

impl Compared {
    fn sides(&self) -> Sides<'_> {
        let Self { now, base, common, .. } = self;
        Sides {
            now,
            base: base.as_deref(),
            common: common.as_deref(),
            in_use: self.in_use,
            is_memory: self.is_memory,
        }
    }
}

fn touches(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

pub(super) fn gone() -> Refusal {
    Refusal::new(Reason::Broken, "the recording is gone")
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| broken(error.into()))
}
