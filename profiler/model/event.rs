//! An event: what happened, when, and to whom. Kind `events` yields one for each occurrence.
//!
//! A source lists its fields once, with their names and how they stand in columns; an event has a
//! value for each of them, in that order. Text in it comes from programs, and is whatever bytes they
//! gave.

use std::borrow::Cow;

use super::Histogram;

/// One field of a source's events.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name, as programs know it.
    pub name: &'static str,
    /// Width of its column; 0: it has none.
    pub width: usize,
    /// True for numbers, which end where the column ends.
    pub right: bool,
}

impl Field {
    /// A column of text.
    pub const fn text(name: &'static str, width: usize) -> Self {
        Self { name, width, right: false }
    }

    /// A column of numbers.
    pub const fn number(name: &'static str, width: usize) -> Self {
        Self { name, width, right: true }
    }

    /// For programs only.
    pub const fn hidden(name: &'static str) -> Self {
        Self { name, width: 0, right: false }
    }
}

/// One occurrence.
#[derive(Clone, Debug, Default)]
pub struct Event<'a> {
    /// ns on CLOCK_MONOTONIC.
    pub time: u64,
    /// Process; 0 if it is not known.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// User id.
    pub uid: u32,
    /// Name of the thread.
    pub comm: &'a [u8],
    /// A value for each field of the source.
    pub values: Vec<Value<'a>>,
}

/// The value of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// Not known, or there is none.
    None,
    /// A number.
    Number(i64),
    /// Whether it is so.
    Flag(bool),
    /// A word of rprof's or the kernel's.
    Word(Cow<'static, str>),
    /// Text from a program.
    Text(Cow<'a, [u8]>),
    /// Texts from a program.
    Texts(Vec<&'a [u8]>),
    /// Bytes, and whether there were more.
    Data(&'a [u8], bool),
    /// A file descriptor, and what it is open on.
    File(i32, Option<Vec<u8>>),
    /// A system call, and its arguments by name.
    Call(&'static str, Vec<(&'static str, Value<'a>)>),
    /// Values by name.
    Named(Vec<(&'static str, Value<'a>)>),
    /// A time, ns.
    Span(u64),
    /// What a system call returned: a negative one is an errno.
    Result(i64),
}

/// What was counted of one system call.
#[derive(Clone, Debug, Default)]
pub struct CallTotals {
    /// Its name.
    pub name: String,
    /// Those that returned an error.
    pub errors: u64,
    /// How long each took.
    pub times: Histogram,
}

impl<'a> Value<'a> {
    /// A word that is there always.
    pub const fn word(word: &'static str) -> Self {
        Self::Word(Cow::Borrowed(word))
    }

    /// Text from a program.
    pub fn text(text: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Text(text.into())
    }
}

impl Event<'_> {
    /// True if it tells of something that failed.
    pub fn failed(&self) -> bool {
        self.values.iter().any(|value| matches!(value, Value::Result(..0)))
    }
}
