//! From events to marks: what happened in words, and all that is known of it as JSON.

use crate::{
    collector::Occurrence,
    model::{Event, Key, Mark, Value},
    output::{Lines, cell, quantity},
    sources::Events,
};

/// Bytes of text from a program that are kept of one field.
const TEXT_MAX: usize = 1000;
/// Characters of a mark's words.
const WORDS_MAX: usize = 300;

/// The mark of an event. Its time is on CLOCK_MONOTONIC.
pub fn of_event(source: &dyn Events, mut event: Event<'_>) -> Mark {
    let lines = Lines::new(source.name(), source.fields(), false);
    let mut left_out = 0;
    event.values.iter_mut().for_each(|value| left_out += cut(value));
    let mut fields = String::new();
    lines.fields(&event, &mut fields);
    if left_out > 0 {
        fields.pop();
        fields.push_str(&format!(",\"bytes_left_out\":{left_out}}}"));
    }
    let text = |name| cell(lines.value(&event, name)).into_owned();
    let comm = String::from_utf8_lossy(event.comm).into_owned();
    let mut mark = Mark {
        time: event.time,
        end: None,
        kind: source.name().into(),
        pid: event.pid,
        tid: event.tid,
        comm,
        text: String::new(),
        fields,
    };
    let failed = match lines.value(&event, "result") {
        Value::Result(result @ ..0) => format!(" ({})", cell(&Value::Result(*result))),
        _ => String::new(),
    };
    mark.text = match source.name() {
        "exec" => text("args") + &failed,
        "exit" => match lines.value(&event, "signal") {
            Value::Word(signal) => {
                mark.kind = "killed".into();
                format!("{} was ended by {signal}", mark.comm)
            }
            _ => format!("{} ended with {}", mark.comm, text("code")),
        },
        "signal" if text("outcome") == "OOM victim" => {
            mark.kind = "oom".into();
            out_of_memory(&lines, &event, &mut mark);
            format!("the kernel ran out of memory, and ends {}", mark.comm)
        }
        "signal" => {
            let to = format!("{} ({})", text("to_comm"), text("to"));
            format!("{} to {to}, by {}", text("signal"), text("by"))
        }
        _ => lines.words(&event),
    };
    shorten(&mut mark.text);
    mark
}

/// Whom it hits is who it is about, and not who asked for memory at that moment.
fn out_of_memory(lines: &Lines, event: &Event<'_>, mark: &mut Mark) {
    if let Value::Number(pid) = lines.value(event, "to") {
        mark.pid = u32::try_from(*pid).unwrap_or_default();
    }
    if let Value::Number(tid) = lines.value(event, "to_tid") {
        mark.tid = u32::try_from(*tid).unwrap_or_default();
    }
    mark.comm = match lines.value(event, "to_comm") {
        Value::Text(comm) => String::from_utf8_lossy(comm).into_owned(),
        _ => String::new(),
    };
}

/// The mark of a time that was measured by itself.
pub fn of_occurrence(name: &str, occurrence: &Occurrence) -> Mark {
    let Occurrence { time, ns, pid, labels } = occurrence;
    let mut fields = serde_json::Map::new();
    let mut words = Vec::new();
    let mut comm = String::new();
    for (key, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        fields.insert(key.word().into(), value.as_str().into());
        match key {
            Key::Process => {
                let suffix = format!(" ({pid})");
                comm = value.strip_suffix(&suffix).unwrap_or(value).to_owned();
            }
            _ => words.push(value.clone()),
        }
    }
    fields.insert("duration_ns".into(), (*ns).into());
    words.push(quantity(*ns, "nanoseconds"));
    let mut text = words.join(", ");
    shorten(&mut text);
    Mark {
        time: time.saturating_sub(*ns),
        end: Some(*time),
        kind: name.into(),
        pid: *pid,
        tid: *pid,
        comm,
        text,
        fields: serde_json::Value::Object(fields).to_string(),
    }
}

/// Cuts text that is long, and tells how many bytes that leaves out.
fn cut(value: &mut Value<'_>) -> usize {
    match value {
        Value::Text(text) if text.len() > TEXT_MAX => {
            let left_out = text.len() - TEXT_MAX;
            text.to_mut().truncate(TEXT_MAX);
            left_out
        }
        Value::Texts(texts) => {
            let mut room = TEXT_MAX;
            let mut left_out = 0;
            texts.retain_mut(|text| {
                let kept = text.len().min(room);
                let is_kept = kept > 0 || text.is_empty() && room > 0;
                left_out += text.len() - kept;
                *text = text.get(..kept).unwrap_or_default();
                room = room.saturating_sub(kept + 1);
                is_kept
            });
            left_out
        }
        _ => 0,
    }
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(WORDS_MAX) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::find_events;

    fn exec<'a>(args: Vec<&'a [u8]>, result: i64) -> Event<'a> {
        let values = vec![
            Value::Number(70),
            Value::text(&b"make"[..]),
            Value::Number(0),
            Value::Result(result),
            Value::Texts(args),
            Value::text(&b"/usr/bin/cc"[..]),
            Value::None,
        ];
        Event { time: 5, pid: 71, tid: 71, uid: 0, comm: b"cc\xff", values }
    }

    #[test]
    fn an_exec_is_told_by_its_command_line() {
        let mark = of_event(find_events("exec").unwrap(), exec(vec![b"cc", b"-c", b"a b.c"], 0));
        assert_eq!((&*mark.kind, &*mark.text), ("exec", "cc -c 'a b.c'"));
        assert_eq!((mark.pid, &*mark.comm), (71, "cc\u{fffd}"));
        let fields: serde_json::Value = serde_json::from_str(&mark.fields).unwrap();
        assert_eq!(fields["args"], serde_json::json!(["cc", "-c", "a b.c"]));
        assert_eq!((&fields["parent"], &fields["uid"]), (&"make".into(), &0.into()));
        let failed = of_event(find_events("exec").unwrap(), exec(vec![b"nothing"], -2));
        assert_eq!(failed.text, "nothing (ENOENT)");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let long = vec![b'x'; 900];
        let mark = of_event(find_events("exec").unwrap(), exec(vec![&long, &long, b"z"], 0));
        let fields: serde_json::Value = serde_json::from_str(&mark.fields).unwrap();
        let args = fields["args"].as_array().unwrap();
        let bytes: usize = args.iter().map(|arg| arg.as_str().unwrap().len()).sum();
        assert!(bytes <= TEXT_MAX && args.len() == 2, "{bytes}");
        assert_eq!(fields["bytes_left_out"], 1801 - bytes);
        assert_eq!(mark.text.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn one_that_was_killed_is_told_apart() {
        let exit = find_events("exit").unwrap();
        let values = |code: Value<'static>, signal: Value<'static>| {
            vec![Value::Number(1), Value::Span(9), Value::Span(3), code, signal, Value::Flag(false)]
        };
        let event = |values| Event { pid: 7, tid: 7, comm: b"sh", values, ..Event::default() };
        let mark = of_event(exit, event(values(Value::None, Value::word("SIGKILL"))));
        assert_eq!((&*mark.kind, &*mark.text), ("killed", "sh was ended by SIGKILL"));
        let mark = of_event(exit, event(values(Value::Number(3), Value::None)));
        assert_eq!((&*mark.kind, &*mark.text), ("exit", "sh ended with 3"));
        assert!(mark.fields.contains("\"cpu_ns\":3"), "{}", mark.fields);
    }

    #[test]
    fn a_pause_has_its_length() {
        let labels = [(Key::Process, "java (7)"), (Key::Collection, "young"), (Key::Heap, "")];
        let labels = labels.map(|(key, value)| (key, value.to_owned())).to_vec();
        let occurrence = Occurrence { time: 5_000_000, ns: 2_000_000, pid: 7, labels };
        let mark = of_occurrence("gc", &occurrence);
        assert_eq!((mark.time, mark.end), (3_000_000, Some(5_000_000)));
        assert_eq!((&*mark.comm, &*mark.text), ("java", "young, 2.00 ms"));
        assert!(mark.fields.contains("\"collection\":\"young\""), "{}", mark.fields);
    }
}
