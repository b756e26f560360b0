//! Marks as lines: columns for people, an object each for programs.
//!
//! ```json
//! {"event":"exec","time":1763734298.123456789,"end":1763734299.0,"pid":10,"tid":10,"comm":"cc",
//!  "kind":"exec","text":"cc -c a.c","ppid":9,"args":["cc","-c","a.c"]}
//! ```
//!
//! `time` and `end` are seconds since the Unix epoch; what follows the text is what the source tells,
//! as `rprof trace --json` has it.

use std::io::Write;

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

use super::{
    table::{self, left, right},
    text::{clean, quantity},
};
use crate::model::Mark;

/// Writes marks for people.
///
/// # Errors
/// They cannot be written.
pub fn write_marks(marks: &[Mark], out: &mut dyn Write) -> Result<()> {
    let columns = [left("TIME"), right("LASTED"), right("PID"), left("COMM"), left("WHAT")];
    let zone = TimeZone::system();
    let row = |mark: &Mark| {
        let lasted = mark.end.map(|end| quantity(end.saturating_sub(mark.time), "nanoseconds"));
        let pid = if mark.pid == 0 { "-".to_owned() } else { mark.pid.to_string() };
        vec![
            clock(mark.time, &zone),
            lasted.unwrap_or_else(|| "-".into()),
            pid,
            clean(&mark.comm).into_owned(),
            clean(&mark.text).into_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = marks.iter().map(row).collect();
    for line in table::lines(&columns, &rows, None) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Date and time of day here.
fn clock(ns: u64, zone: &TimeZone) -> String {
    let time = Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    let time = time.to_zoned(zone.clone());
    format!("{}.{:06}", time.strftime("%Y-%m-%d %H:%M:%S"), ns % 1_000_000_000 / 1000)
}

/// Writes marks of a source for programs.
///
/// # Errors
/// They cannot be written.
pub fn write_marks_json(source: &str, marks: &[Mark], out: &mut dyn Write) -> Result<()> {
    for mark in marks {
        let fields: Map<String, Value> = serde_json::from_str(&mark.fields).unwrap_or_default();
        write!(out, "{{\"event\":{},\"time\":{}", Value::from(source), seconds(mark.time))?;
        if let Some(end) = mark.end {
            write!(out, ",\"end\":{}", seconds(end))?;
        }
        write!(out, ",\"pid\":{},\"tid\":{}", mark.pid, mark.tid)?;
        for (name, text) in [("comm", &mark.comm), ("kind", &mark.kind), ("text", &mark.text)] {
            write!(out, ",\"{name}\":{}", Value::from(text.as_str()))?;
        }
        for (name, value) in fields {
            write!(out, ",{}:{value}", Value::from(name))?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            time: 1_763_734_298_123_456_789,
            end: Some(1_763_734_300_123_456_789),
            kind: "exec".into(),
            pid: 7,
            tid: 7,
            comm: "c\x1bc".into(),
            text: "cc \"a\".c".into(),
            fields: r#"{"ppid":1,"args":["cc","\"a\".c"]}"#.into(),
        }
    }

    #[test]
    fn marks_are_lines_that_no_terminal_acts_on() {
        let mut bytes = Vec::new();
        write_marks(&[mark()], &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("TIME") && lines[0].ends_with("WHAT"), "{text}");
        assert!(lines[1].contains(".123456  ") && lines[1].contains("2.00 s"), "{text}");
        assert!(lines[1].ends_with("cc \"a\".c") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn an_object_has_all_that_is_known() {
        let mut bytes = Vec::new();
        write_marks_json("exec", &[mark()], &mut bytes).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["event"], &value["pid"]), (&"exec".into(), &7.into()));
        assert_eq!(value["args"], serde_json::json!(["cc", "\"a\".c"]));
        assert_eq!(value["text"], "cc \"a\".c");
        assert!(value["end"].as_f64().unwrap() - value["time"].as_f64().unwrap() > 1.9);
    }
}
