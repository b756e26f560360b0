//! Events as lines: columns that line up for people, an object each for programs.
//!
//! ```json
//! {"event":"open","time":1763734298.123456789,"pid":10,"tid":10,"uid":0,"comm":"cat","result":-2,
//!  "error":"ENOENT","flags":"O_RDONLY","path":"a","resolved":"/tmp/a","mode":null,"call":"openat"}
//! ```
//!
//! `time` is seconds since the Unix epoch; fields that end in `_ns` are ns. A text that is not UTF-8 has
//! U+FFFD in it, and its bytes in hexadecimal beside it, in a field that ends in `_hex`. What came from a program
//! reaches no terminal as it is: in columns, whatever a terminal could act on is escaped as C does.

use std::{borrow::Cow, fmt::Write};

use jiff::{Timestamp, tz::TimeZone};

use super::text::{is_hostile, quantity};
use crate::{
    callers::Caller,
    machine,
    model::{Event, Field, Value},
};

/// Width of the column of the source's name, where there are several.
const NAME_WIDTH: usize = 10;
const PID_WIDTH: usize = 7;
const COMM_WIDTH: usize = 15;

/// From the clock of events to that of the wall.
pub struct WallClock {
    /// ns from the one to the other.
    offset: u64,
    zone: TimeZone,
    /// The last second that was asked for, and how it reads.
    second: u64,
    text: String,
}

impl Default for WallClock {
    fn default() -> Self {
        let offset = machine::unix_ns().saturating_sub(machine::monotonic_ns());
        Self { offset, zone: TimeZone::system(), second: u64::MAX, text: String::new() }
    }
}

impl WallClock {
    fn unix_ns(&self, time: u64) -> u64 {
        time.saturating_add(self.offset)
    }

    /// Appends local time: `14:11:38.123456`.
    fn write(&mut self, time: u64, line: &mut String) {
        let time = self.unix_ns(time);
        let second = time / 1_000_000_000;
        if second != self.second {
            let at = Timestamp::from_second(second as i64).unwrap_or_default();
            let at = at.to_zoned(self.zone.clone());
            self.text = format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second());
            self.second = second;
        }
        let _ = write!(line, "{}.{:06}", self.text, time % 1_000_000_000 / 1000);
    }
}

/// How the events of one source are written.
pub struct Lines {
    name: &'static str,
    fields: &'static [Field],
    several: bool,
    /// Of the column of its name.
    width: usize,
}

impl Lines {
    /// `several`: the lines of other sources stand among them.
    pub fn new(name: &'static str, fields: &'static [Field], several: bool) -> Self {
        Self { name, fields, several, width: NAME_WIDTH }
    }

    /// The same with a wider column for the name, where another is as long.
    pub fn wide(self, width: usize) -> Self {
        Self { width: width.max(NAME_WIDTH), ..self }
    }

    /// What stands above the columns.
    pub fn heading(&self) -> String {
        let (mut line, width) = (format!("{:15}", "TIME"), self.width);
        if self.several {
            // The name of a probe is to be read as it is written.
            let name = match self.name.contains(':') {
                true => self.name.to_owned(),
                false => self.name.to_uppercase(),
            };
            let _ = write!(line, " {name:width$}");
        }
        let _ = write!(line, " {:>PID_WIDTH$} {:COMM_WIDTH$}", "PID", "COMM");
        for field in self.fields.iter().filter(|field| field.width > 0) {
            pad(&mut line, &field.name.replace('_', " ").to_uppercase(), field);
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// Appends an event as columns, without the end of the line.
    pub fn columns(&self, event: &Event<'_>, clock: &mut WallClock, line: &mut String) {
        clock.write(event.time, line);
        if self.several {
            let _ = write!(line, " {:width$}", self.name, width = self.width);
        }
        let comm = printable(event.comm);
        match event.pid {
            0 if event.comm.is_empty() => {
                let _ = write!(line, " {:>PID_WIDTH$} {:COMM_WIDTH$}", "-", "-");
            }
            pid => {
                let _ = write!(line, " {pid:>PID_WIDTH$} {comm:COMM_WIDTH$}");
            }
        }
        for (field, value) in self.fields.iter().zip(&event.values) {
            if field.width > 0 {
                pad(line, &cell(value), field);
            }
        }
        line.truncate(line.trim_end_matches(' ').len());
    }

    /// Appends an event as a JSON object, without the end of the line; with the functions of its
    /// stack if it has one, the innermost first.
    pub fn json(
        &self,
        event: &Event<'_>,
        stack: Option<&[Caller<'_>]>,
        clock: &WallClock,
        line: &mut String,
    ) {
        let time = clock.unix_ns(event.time);
        let _ = write!(
            line,
            "{{\"event\":\"{}\",\"time\":{}.{:09},\"pid\":{},\"tid\":{},\"uid\":{},\"comm\":",
            self.name,
            time / 1_000_000_000,
            time % 1_000_000_000,
            event.pid,
            event.tid,
            event.uid
        );
        json_text(event.comm, line);
        for (field, value) in self.fields.iter().zip(&event.values) {
            // Among the first already.
            if field.name != "uid" {
                line.push(',');
                json_value(field.name, value, line);
            }
        }
        for (index, caller) in stack.unwrap_or_default().iter().enumerate() {
            line.push_str(if index == 0 { ",\"stack\":[" } else { "," });
            json_text(caller.name.as_bytes(), line);
        }
        line.push_str(match stack {
            None => "}",
            Some([]) => ",\"stack\":[]}",
            Some(_) => "]}",
        });
    }

    /// Appends the fields of an event as a JSON object, without what all events have.
    pub fn fields(&self, event: &Event<'_>, line: &mut String) {
        let _ = write!(line, "{{\"uid\":{}", event.uid);
        for (field, value) in self.fields.iter().zip(&event.values) {
            if field.name != "uid" {
                line.push(',');
                json_value(field.name, value, line);
            }
        }
        line.push('}');
    }

    /// What an event's columns say, without their widths, and without those that say nothing.
    pub fn words(&self, event: &Event<'_>) -> String {
        let columns = self.fields.iter().zip(&event.values).filter(|(field, _)| field.width > 0);
        let cells = columns.map(|(_, value)| cell(value)).filter(|cell| !cell.is_empty());
        cells.filter(|cell| cell != "-").collect::<Vec<_>>().join(" ")
    }

    /// The value of a field.
    pub fn value<'a, 'b>(&self, event: &'a Event<'b>, name: &str) -> &'a Value<'b> {
        let index = self.fields.iter().position(|field| field.name == name);
        index.and_then(|index| event.values.get(index)).unwrap_or(&Value::None)
    }
}

/// Appends the functions of a stack, a line each, the innermost first.
pub fn stack_lines(stack: &[Caller<'_>], line: &mut String) {
    for Caller { name, file } in stack {
        let _ = match file.rsplit('/').next() {
            None | Some("") => writeln!(line, "    {}", printable(name.as_bytes())),
            // One without a name is called after its file.
            Some(file) if name.starts_with('[') && name.trim_matches(['[', ']']) == file => {
                writeln!(line, "    {}", printable(name.as_bytes()))
            }
            Some(file) => writeln!(
                line,
                "    {} ({})",
                printable(name.as_bytes()),
                printable(file.as_bytes())
            ),
        };
    }
}

fn pad(line: &mut String, text: &str, field: &Field) {
    let width = field.width;
    let _ = match field.right {
        true => write!(line, " {text:>width$}"),
        false => write!(line, " {text:width$}"),
    };
}

/// A value as people read it; `-` where there is none, so that programs can count columns too.
pub fn cell<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::None => "-".into(),
        Value::Number(number) => number.to_string().into(),
        Value::Flag(flag) => if *flag { "yes" } else { "-" }.into(),
        Value::Word(word) => word.as_ref().into(),
        Value::Text(text) => printable(text),
        Value::Texts(texts) => {
            let words: Vec<Cow<'_, str>> = texts.iter().map(|text| quoted(text)).collect();
            words.join(" ").into()
        }
        Value::Span(time) => quantity(*time, "nanoseconds").into(),
        Value::Data(bytes, more) => {
            format!("{}{}", string(bytes), if *more { "..." } else { "" }).into()
        }
        Value::File(number, None) => number.to_string().into(),
        Value::File(number, Some(path)) => format!("{number}<{}>", printable(path)).into(),
        Value::Call(name, args) => {
            let args: Vec<Cow<'_, str>> = args.iter().map(|(_, value)| argument(value)).collect();
            format!("{name}({})", args.join(", ")).into()
        }
        Value::Named(values) => {
            let word = |(name, value): &(&str, Value<'_>)| match value {
                Value::Flag(flag) => format!("{name}={flag}"),
                value => format!("{name}={}", argument(value)),
            };
            values.iter().map(word).collect::<Vec<String>>().join(" ").into()
        }
        Value::Result(address @ 0x1_0000_0000..) => format!("{address:#x}").into(),
        Value::Result(result) => match errno(*result) {
            Some(name) => name,
            None => result.to_string().into(),
        },
    }
}

/// A value as an argument of a call, as C would have it.
fn argument<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::Text(text) => string(text).into(),
        Value::Texts(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| string(text)).collect();
            format!("[{}]", texts.join(", ")).into()
        }
        other => cell(other),
    }
}

fn string(bytes: &[u8]) -> String {
    format!("\"{}\"", printable(bytes).replace('"', "\\\""))
}

/// The name of the error that a system call returned.
fn errno(result: i64) -> Option<Cow<'static, str>> {
    // include/linux/err.h: MAX_ERRNO.
    (-4095..0).contains(&result).then(|| crate::sources::linux::errno(-result as i32))
}

/// `bytes` with all that a terminal could act on, and what is not UTF-8, escaped as C does.
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'\\';
    if bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' | '\r' | '\t' => text.extend(c.escape_default()),
                c if c.is_ascii_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(c));
                }
                c if is_hostile(c) => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.into()
}

/// One of several words: in quotes where it would read as more or fewer than one.
fn quoted(word: &[u8]) -> Cow<'_, str> {
    let text = printable(word);
    if word.is_empty() || word.iter().any(|byte| b" '\"".contains(byte)) {
        return format!("'{}'", text.replace('\'', "\\'")).into();
    }
    text
}

/// Appends `"name":value`.
fn json_value(name: &str, value: &Value<'_>, line: &mut String) {
    let suffix = if matches!(value, Value::Span(_)) { "_ns" } else { "" };
    let _ = write!(line, "\"{name}{suffix}\":");
    let _ = match value {
        Value::None => write!(line, "null"),
        Value::Number(number) => write!(line, "{number}"),
        Value::Flag(flag) => write!(line, "{flag}"),
        Value::Span(time) => write!(line, "{time}"),
        Value::Word(word) => {
            json_text(word.as_bytes(), line);
            Ok(())
        }
        Value::Result(result) => match errno(*result) {
            Some(error) => write!(line, "{result},\"error\":\"{error}\""),
            None => write!(line, "{result}"),
        },
        Value::File(..) => {
            json_text(cell(value).as_bytes(), line);
            Ok(())
        }
        Value::Call(name, args) => {
            let _ = write!(line, "\"{name}\",\"args\":");
            for (index, (name, value)) in args.iter().enumerate() {
                line.push(if index == 0 { '{' } else { ',' });
                json_value(name, value, line);
            }
            line.push_str(if args.is_empty() { "{}" } else { "}" });
            Ok(())
        }
        Value::Named(values) => {
            for (index, (name, value)) in values.iter().enumerate() {
                line.push(if index == 0 { '{' } else { ',' });
                json_value(name, value, line);
            }
            line.push_str(if values.is_empty() { "{}" } else { "}" });
            Ok(())
        }
        Value::Data(text, _) => {
            json_text(text, line);
            Ok(())
        }
        Value::Text(text) => {
            json_text(text, line);
            if std::str::from_utf8(text).is_err() {
                let _ = write!(line, ",\"{name}_hex\":\"");
                text.iter().for_each(|byte| {
                    let _ = write!(line, "{byte:02x}");
                });
                line.push('"');
            }
            Ok(())
        }
        Value::Texts(texts) => {
            for (index, text) in texts.iter().enumerate() {
                line.push(if index == 0 { '[' } else { ',' });
                json_text(text, line);
            }
            line.push_str(if texts.is_empty() { "[]" } else { "]" });
            Ok(())
        }
    };
}

/// Text as a JSON string, in which what a terminal could act on is escaped.
fn json_text(bytes: &[u8], line: &mut String) {
    line.push('"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            c if is_hostile(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] =
        &[Field::number("result", 8), Field::text("path", 10), Field::hidden("age")];

    fn event<'a>(path: &'a [u8], comm: &'a [u8]) -> Event<'a> {
        let values = vec![Value::Result(-2), Value::text(path), Value::Span(1_500_000)];
        Event { time: 0, pid: 7, tid: 8, uid: 9, comm, values }
    }

    fn clock() -> WallClock {
        let offset = 1_763_734_298_123_456_789;
        WallClock { offset, zone: TimeZone::UTC, second: u64::MAX, text: String::new() }
    }

    #[test]
    fn columns_stand_below_their_headings() {
        let lines = Lines::new("open", FIELDS, true);
        let mut line = String::new();
        lines.columns(&event(b"/tmp/a", b"cat"), &mut clock(), &mut line);
        assert_eq!(line, "14:11:38.123456 open             7 cat               ENOENT /tmp/a");
        let heading = lines.heading();
        assert_eq!(heading, "TIME            OPEN           PID COMM              RESULT PATH");
        assert_eq!(heading.find("PATH"), line.find("/tmp"));
    }

    #[test]
    fn an_object_has_all_fields() {
        let mut line = String::new();
        Lines::new("open", FIELDS, false).json(
            &event(b"/t\xff", b"c\"t"),
            None,
            &clock(),
            &mut line,
        );
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "open");
        assert_eq!(value["time"], 1_763_734_298.123_456_7);
        assert_eq!((&value["pid"], &value["tid"]), (&7.into(), &8.into()));
        assert_eq!(value["comm"], "c\"t");
        assert_eq!((&value["result"], &value["error"]), (&(-2).into(), &"ENOENT".into()));
        assert_eq!((&value["path"], &value["path_hex"]), (&"/t\u{fffd}".into(), &"2f74ff".into()));
        assert_eq!(value["age_ns"], 1_500_000);
    }

    #[test]
    fn nothing_that_a_terminal_could_act_on_is_left() {
        let hostile = "a\x1b[31m\u{9b}31m\n\u{202e}\\ é漢".as_bytes();
        let hostile = [hostile, b"\xff\x80"].concat();
        let text = printable(&hostile);
        assert_eq!(text, "a\\x1b[31m\\u{9b}31m\\n\\u{202e}\\\\ é漢\\xff\\x80");
        let mut line = String::new();
        Lines::new("open", FIELDS, false).json(
            &event(&hostile, &hostile),
            None,
            &clock(),
            &mut line,
        );
        assert!(!line.contains(is_hostile), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["path"], String::from_utf8_lossy(&hostile).as_ref());
    }

    #[test]
    fn words_are_told_apart() {
        let words = Value::Texts(vec![b"sh", b"-c", b"a b", b""]);
        assert_eq!(cell(&words), "sh -c 'a b' ''");
    }
}
