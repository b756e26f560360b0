//! The words of the API: those of a view, which are the command line's, and a few of each question.

use regex::{Regex, RegexBuilder};
use web::{Reason, Refusal};

use crate::{
    model::{Idle, Label, Moment, Only, View, parse_by, parse_span},
    nearest::nearest,
};

/// The longest pattern, and what its program may take, bytes. A match takes as long as the product
/// of the program and the name at worst.
const PATTERN: usize = 1000;
const PROGRAM: usize = 512 << 10;

/// Words that say a view.
const VIEW: [&str; 13] = [
    "source", "type", "older", "from", "to", "pid", "comm", "only", "focus", "ignore", "by",
    "inverted", "idle",
];
/// Words that say what to compare it with.
const BASE: [&str; 3] = ["base", "base_from", "base_to"];

/// A question, read.
#[derive(Debug, Default)]
pub struct Words {
    /// The part of the recording that is asked about.
    pub view: View,
    /// What to compare it with.
    pub base: Option<Base>,
    own: Vec<(String, String)>,
}

/// What a view is compared with.
#[derive(Debug)]
pub struct Base {
    /// The same view of another time, or of the other recording.
    pub view: View,
    /// True for the other recording.
    pub other: bool,
}

impl Words {
    /// Reads the words of a question that has some of its `own` besides those of a view. A word
    /// without a value is as good as none.
    ///
    /// # Errors
    /// A word is not known, or its value makes no sense.
    pub fn read(words: &[(String, String)], own: &[&str]) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let mut base = (false, None, None);
        for (name, value) in words.iter().filter(|(_, value)| !value.is_empty()) {
            match &**name {
                "base" => base.0 = true,
                "base_from" => base.1 = Some(moment(value)?),
                "base_to" => base.2 = Some(moment(value)?),
                name if own.contains(&name) => {
                    read.own.push((name.to_owned(), value.clone()));
                }
                name if VIEW.contains(&name) => read_view(&mut read.view, name, value)?,
                name => {
                    let known = VIEW.iter().chain(&BASE).chain(own).map(|word| (*word).to_owned());
                    return Err(invalid(format!("no word {name:?}{}", nearest(name, known))));
                }
            }
        }
        if base.0 || base.1.is_some() || base.2.is_some() {
            let view = View { from: base.1, to: base.2, ..read.view.clone() };
            read.base = Some(Base { view, other: base.0 });
        }
        Ok(read)
    }

    /// The value of one of the question's own words.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.own.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// A number among the question's own words, `default` if it is not there, and never more than
    /// `most`.
    ///
    /// # Errors
    /// It is no whole number above 0.
    pub fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if number > 0 => Ok(usize::min(number, most)),
            _ => Err(invalid(format!("{name}={text} is no number above 0"))),
        }
    }

    /// The label among the question's own words.
    ///
    /// # Errors
    /// It is not there, or there is no such label.
    pub fn label(&self) -> Result<Label, Refusal> {
        let text = self.text("label").ok_or_else(|| invalid("say which label: label=unit"))?;
        let known = || Label::ALL.iter().map(|label| label.word().to_owned());
        Label::find(text)
            .ok_or_else(|| invalid(format!("no label {text:?}{}", nearest(text, known()))))
    }
}

fn read_view(view: &mut View, name: &str, value: &str) -> Result<(), Refusal> {
    match name {
        "source" => view.source = Some(value.to_owned()),
        "type" => view.value_type = Some(value.to_owned()),
        "older" => {
            let older = parse_span(value).map_err(wrong)?;
            view.older = Some(older.as_nanos().min(u64::MAX.into()) as u64);
        }
        "from" => view.from = Some(moment(value)?),
        "to" => view.to = Some(moment(value)?),
        "pid" => {
            for pid in value.split(',') {
                let number = pid.trim().parse();
                view.pids.push(number.map_err(|_| invalid(format!("{pid:?} is no process id")))?);
            }
        }
        "comm" => view.comm = Some(value.to_owned()),
        "only" => view.only.push(Only::parse(value).map_err(wrong)?),
        "focus" => view.focus = Some(pattern(value)?),
        "ignore" => view.ignore = Some(pattern(value)?),
        "by" => view.by = parse_by(value).map_err(wrong)?,
        "idle" => view.idle = Idle::parse(value).map_err(wrong)?,
        _ => {
            view.inverted = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(invalid("inverted is true or false")),
            }
        }
    }
    Ok(())
}

fn moment(text: &str) -> Result<Moment, Refusal> {
    Moment::parse(text).map_err(wrong)
}

/// A pattern, unless it is too large.
///
/// # Errors
/// It cannot be used.
pub fn pattern(text: &str) -> Result<Regex, Refusal> {
    if text.len() > PATTERN {
        return Err(invalid(format!("the pattern is longer than {PATTERN} bytes")));
    }
    let pattern = RegexBuilder::new(text).size_limit(PROGRAM).build();
    pattern.map_err(|error| invalid(format!("the pattern cannot be used: {error}")))
}

/// A question that makes no sense, in words.
pub fn invalid(words: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Invalid, words)
}

fn wrong(error: anyhow::Error) -> Refusal {
    invalid(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[(&str, &str)], own: &[&str]) -> Result<Words, Refusal> {
        let words: Vec<_> =
            words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Words::read(&words, own)
    }

    #[test]
    fn a_view_in_words() {
        let words = read(
            &[
                ("from", "10s"),
                ("to", "-1h"),
                ("pid", "1,2"),
                ("pid", "3"),
                ("only", "unit=nginx.service"),
                ("only", "uid=0"),
                ("focus", "^a+b$"),
                ("by", "none"),
                ("inverted", "true"),
                ("limit", "5"),
                ("comm", ""),
                ("older", "5m"),
            ],
            &["limit"],
        )
        .unwrap();
        assert_eq!(words.view.from, Some(Moment::AfterStart(10_000_000_000)));
        assert_eq!(words.view.to, Some(Moment::BeforeEnd(3_600_000_000_000)));
        assert_eq!(words.view.older, Some(300_000_000_000));
        assert_eq!(words.view.pids, [1, 2, 3]);
        assert_eq!(words.view.only.len(), 2);
        assert!(words.view.comm.is_none() && words.view.by.is_none() && words.view.inverted);
        assert!(words.base.is_none());
        assert_eq!(words.number("limit", 30, 100).unwrap(), 5);
        assert_eq!(words.number("nodes", 30, 100).unwrap(), 30);
    }

    #[test]
    fn a_base_is_the_same_view_of_another_time() {
        let words = read(&[("comm", "app"), ("from", "1s"), ("base_from", "5s")], &[]).unwrap();
        let base = words.base.unwrap();
        assert_eq!(base.view.comm.as_deref(), Some("app"));
        assert_eq!(base.view.from, Some(Moment::AfterStart(5_000_000_000)));
        assert!(base.view.to.is_none() && !base.other);
        assert!(read(&[("base", "1")], &[]).unwrap().base.unwrap().other);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (name, value, part) in [
            ("form", "1s", "from"),
            ("from", "noon", "not a time"),
            ("older", "long", "not a time"),
            ("pid", "1,x", "process id"),
            ("only", "unit", "LABEL=VALUE"),
            ("focus", "(", "pattern"),
            ("focus", &*format!("({}){{1000}}", "a{1000}".repeat(20)), "pattern"),
            ("by", "colour", "comm"),
            ("inverted", "maybe", "true or false"),
            ("idle", "no", "show"),
            ("limit", "5", "no word"),
        ] {
            let refusal = read(&[(name, value)], &[]).unwrap_err();
            assert_eq!(refusal.reason, Reason::Invalid);
            assert!(refusal.words.contains(part), "{name}={value}: {}", refusal.words);
        }
        let zero = read(&[("limit", "0")], &["limit"]).unwrap();
        assert!(zero.number("limit", 1, 2).is_err());
    }
}
