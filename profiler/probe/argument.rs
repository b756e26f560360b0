//! Arguments: where a probe finds each, and how it is shown.

use crate::{bpf::probeline::types, model::Value};

/// Arguments of a probe that are told at most (PROBE_ARGUMENTS in `bpf/probeline.bpf.c`).
pub const ARGUMENTS_MAX: usize = 12;

/// `enum argument_from` of `bpf/probeline.bpf.c`.
const UNKNOWN: u8 = 0;
const CONSTANT: u8 = 1;
const REGISTER: u8 = 2;
const MEMORY: u8 = 3;
const RECORD: u8 = 4;
/// NO_REGISTER there: one that counts as 0.
pub const NO_REGISTER: u8 = 255;

/// Registers by DWARF's numbers.
pub const RAX: u8 = 0;
/// Where the stack is.
pub const RSP: u8 = 7;
/// Where the code is.
pub const RIP: u8 = 16;
/// Those of the first six arguments that are numbers or addresses (System V ABI, AMD64 supplement,
/// 3.2.3).
pub const CALL: [u8; 6] = [5, 4, 1, 2, 8, 9];

/// How a value is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// A number of so many bytes, with a sign.
    Signed(u8),
    /// The same without.
    Unsigned(u8),
    /// True or false.
    Bool,
    /// In hexadecimal.
    Hex,
    /// The text that it is the address of.
    Text,
    /// The text that it seems to be the address of, else in hexadecimal.
    Perhaps,
}

/// One argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// What it is called.
    pub name: String,
    /// Its type in words, where that is known.
    pub type_name: String,
    /// How it is shown.
    pub shown: Shown,
    place: types::argument,
}

impl Argument {
    fn new(name: &str, shown: Shown, place: types::argument) -> Self {
        let is_text = u8::from(matches!(shown, Shown::Text | Shown::Perhaps));
        let place = types::argument { is_text, ..place };
        Self { name: name.to_owned(), type_name: String::new(), shown, place }
    }

    /// One that is out of reach.
    pub fn unknown(name: &str) -> Self {
        let place = types::argument { from: UNKNOWN, ..Default::default() };
        Self::new(name, Shown::Hex, place)
    }

    /// One that is always the same.
    pub fn constant(name: &str, shown: Shown, constant: i64) -> Self {
        Self::new(name, shown, types::argument { from: CONSTANT, constant, ..Default::default() })
    }

    /// In a register.
    pub fn register(name: &str, shown: Shown, base: u8) -> Self {
        Self::new(name, shown, types::argument { from: REGISTER, base, ..Default::default() })
    }

    /// In memory, `bytes` of it, at `base + index * scale + constant`.
    pub fn memory(
        name: &str,
        shown: Shown,
        bytes: u8,
        (base, index, scale): (u8, u8, u8),
        constant: i64,
    ) -> Self {
        let from = MEMORY;
        let place =
            types::argument { constant, from, base, index, scale, bytes, ..Default::default() };
        Self::new(name, shown, place)
    }

    /// In the record of a tracepoint, so many bytes from its start: eight bytes.
    pub fn recorded(name: &str, shown: Shown, constant: i64) -> Self {
        Self::new(name, shown, types::argument { from: RECORD, constant, ..Default::default() })
    }

    /// The same, where what it points to has the address of the text at `inside`.
    pub fn follow(mut self, inside: i32) -> Self {
        self.place.follow = 1;
        self.place.inside = inside;
        self
    }

    /// The same, with a type in words.
    pub fn typed(mut self, type_name: &str) -> Self {
        type_name.clone_into(&mut self.type_name);
        self
    }

    /// What it came to: the value, and the text or an error where there is to be one.
    pub fn value<'a>(&self, value: u64, length: i32, text: &'a [u8]) -> Value<'a> {
        if self.place.from == UNKNOWN {
            return Value::None;
        }
        // Not even the value could be read.
        if length < 0 && !matches!(self.shown, Shown::Text | Shown::Perhaps) {
            return Value::None;
        }
        let cut = |bytes: u8| 64u32.saturating_sub(8 * u32::from(bytes).clamp(1, 8));
        match self.shown {
            Shown::Signed(bytes) => Value::Number(((value << cut(bytes)) as i64) >> cut(bytes)),
            Shown::Unsigned(bytes) => {
                let value = (value << cut(bytes)) >> cut(bytes);
                i64::try_from(value).map_or_else(|_| hex(value), Value::Number)
            }
            Shown::Bool => Value::Flag(value & 0xff != 0),
            Shown::Text if length >= 0 => Value::text(text),
            Shown::Perhaps if length > 1 && is_plain(text) => Value::text(text),
            Shown::Text | Shown::Hex | Shown::Perhaps => hex(value),
        }
    }
}

fn hex(value: u64) -> Value<'static> {
    Value::Word(format!("{value:#x}").into())
}

/// True for what is hardly anything but text.
fn is_plain(text: &[u8]) -> bool {
    std::str::from_utf8(text)
        .is_ok_and(|text| !text.chars().any(|c| c.is_control() && !"\t\n\r".contains(c)))
}

/// The list that the kernel half is given.
pub fn list(arguments: &[Argument]) -> types::argument_list {
    let mut list = types::argument_list::default();
    for (to, from) in list.all.iter_mut().zip(arguments) {
        *to = from.place;
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_of_their_type() {
        let shown = |shown, value, length, text| {
            Argument::register("x", shown, RAX).value(value, length, text)
        };
        assert_eq!(shown(Shown::Signed(4), 0xffff_ffff, 0, b""), Value::Number(-1));
        assert_eq!(shown(Shown::Unsigned(4), u64::MAX, 0, b""), Value::Number(0xffff_ffff));
        assert_eq!(shown(Shown::Unsigned(8), u64::MAX, 0, b""), hex(u64::MAX));
        assert_eq!(shown(Shown::Bool, 0xff00, 0, b""), Value::Flag(false));
        assert_eq!(shown(Shown::Text, 7, 3, b"ab"), Value::text(&b"ab"[..]));
        assert_eq!(shown(Shown::Text, 7, -14, b""), hex(7));
        assert_eq!(shown(Shown::Perhaps, 7, 3, b"a\x01"), hex(7));
        assert_eq!(shown(Shown::Perhaps, 7, 3, b"ab"), Value::text(&b"ab"[..]));
        assert_eq!(shown(Shown::Signed(4), 7, -14, b""), Value::None);
        assert_eq!(Argument::unknown("x").value(7, 0, b""), Value::None);
    }
}
