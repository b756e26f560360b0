//! Marks as bytes: columns of numbers, and each text once.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use anyhow::{Context, Result};

use super::{
    codec::{Decoder, Encoder},
    rollup::STEP_NS,
};
use crate::model::Mark;

/// Writes marks of a recording that started at `start`, ns since the Unix epoch.
pub fn encode(marks: &[Mark], start: u64) -> Encoder {
    let mut out = Encoder::default();
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for text in marks.iter().flat_map(texts_of) {
        numbers.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() as u64 - 1
        });
    }
    out.unsigned(texts.len() as u64);
    texts.iter().for_each(|text| out.text(text));
    out.unsigned(marks.len() as u64);
    let mut before = start;
    for mark in marks {
        out.signed(mark.time.wrapping_sub(before) as i64);
        before = mark.time;
    }
    for mark in marks {
        out.unsigned(mark.end.map_or(0, |end| end.saturating_sub(mark.time).saturating_add(1)));
    }
    marks.iter().for_each(|mark| out.unsigned(mark.pid.into()));
    marks.iter().for_each(|mark| out.signed(i64::from(mark.tid) - i64::from(mark.pid)));
    for column in 0..4 {
        for mark in marks {
            let number = numbers.get(texts_of(mark)[column]);
            out.unsigned(number.copied().unwrap_or_default());
        }
    }
    out
}

fn texts_of(mark: &Mark) -> [&str; 4] {
    [&mark.kind, &mark.comm, &mark.text, &mark.fields]
}

/// Reads marks of a recording that started at `start`, ns since the Unix epoch.
///
/// # Errors
/// They are damaged.
pub fn decode(bytes: &[u8], start: u64) -> Result<Vec<Mark>> {
    let mut input = Decoder(bytes);
    let mut texts = Vec::new();
    for _ in 0..input.count()? {
        texts.push(input.text()?.into_owned());
    }
    let mut marks = vec![Mark::default(); input.count()?];
    let mut before = start;
    for mark in &mut marks {
        mark.time = before.wrapping_add(input.signed()? as u64);
        before = mark.time;
    }
    for mark in &mut marks {
        let length = input.unsigned()?.checked_sub(1);
        mark.end = length.map(|length| mark.time.saturating_add(length));
    }
    for mark in &mut marks {
        mark.pid = input.index()?;
    }
    for mark in &mut marks {
        mark.tid = i64::from(mark.pid).wrapping_add(input.signed()?) as u32;
    }
    for column in 0..4 {
        for mark in &mut marks {
            let number = input.unsigned()? as usize;
            let text = texts.get(number).context("damaged blob: no such text")?.clone();
            let Mark { kind, comm, text: words, fields, .. } = mark;
            *[kind, comm, words, fields][column] = text;
        }
    }
    Ok(marks)
}

/// How many marks there are in each step of 10 s since the Unix epoch that has some, as text:
/// `STEP:COUNT,…`.
pub fn steps(marks: &[Mark]) -> String {
    let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
    for mark in marks {
        *steps.entry(mark.time / STEP_NS).or_default() += 1;
    }
    let mut text = String::new();
    for (step, count) in steps {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{step}:{count}"); // writing to a String does not fail
    }
    text
}

/// Reads what [`steps`] wrote: when each step begins, ns since the Unix epoch, and its count. What
/// makes no sense is left out.
pub fn read_steps(text: &str) -> impl Iterator<Item = (u64, u64)> + '_ {
    text.split(',').filter_map(|pair| {
        let (step, count) = pair.split_once(':')?;
        let count: u64 = count.parse().ok()?;
        Some((step.parse::<u64>().ok()?.checked_mul(STEP_NS)?, count.min(1 << 32)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::expand;

    const START: u64 = 1_795_215_000_000_000_000;

    fn mark(number: u64) -> Mark {
        Mark {
            // One that began before the recording is among them.
            time: START + number * 3_000_000_000 - 1_000_000_000,
            end: number.is_multiple_of(2).then_some(START + number * 3_000_000_000),
            kind: "exec".into(),
            pid: 70 + number as u32,
            tid: 71,
            comm: "cc".into(),
            text: format!("cc -c {number}.c"),
            fields: "{}".into(),
        }
    }

    #[test]
    fn what_was_written_comes_back_and_every_cut_is_an_error() {
        let marks: Vec<Mark> = (0..50).map(mark).collect();
        let bytes = expand(&encode(&marks, START).finish(3).unwrap()).unwrap();
        assert_eq!(decode(&bytes, START).unwrap(), marks);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], START).is_err(), "{cut}");
        }
    }

    #[test]
    fn steps_count_all_marks_by_their_time() {
        let marks: Vec<Mark> = (0..50).map(mark).collect();
        let text = steps(&marks);
        let read: Vec<(u64, u64)> = read_steps(&text).collect();
        assert_eq!(read.iter().map(|(_, count)| count).sum::<u64>(), 50);
        assert!(read.is_sorted() && read[0].0 <= marks[0].time, "{text}");
        assert_eq!(read_steps("nonsense,1:x,:,18446744073709551615:1,7:2").count(), 1);
        assert_eq!(read_steps("").count(), 0);
    }
}
