//! Where the arguments of a USDT probe are, in the words of its note: `-4@%edi 8@-16(%rbp) 4@$7`.
//! Format: <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>; operands as the GNU
//! assembler writes them for x86_64.

use super::argument::{ARGUMENTS_MAX, Argument, NO_REGISTER, RIP, Shown};

/// The arguments that `words` tell of. `symbol` gives the address of a name, less that of the probe.
/// What cannot be read (floating point, names that are not known) is told to be there.
pub fn arguments(words: &str, symbol: &dyn Fn(&str) -> Option<i64>) -> Vec<Argument> {
    let words = words.split_whitespace().take(ARGUMENTS_MAX).enumerate();
    words
        .map(|(number, word)| {
            let name = format!("arg{number}");
            argument(&name, word, symbol).unwrap_or_else(|| Argument::unknown(&name))
        })
        .collect()
}

fn argument(name: &str, word: &str, symbol: &dyn Fn(&str) -> Option<i64>) -> Option<Argument> {
    // Some probes leave the size out: a register's own then.
    let (size, operand) = word.split_once('@').unwrap_or(("8", word));
    let size: i8 = size.parse().ok()?;
    let bytes = size.unsigned_abs();
    let shown = match (size, bytes) {
        (_, 0 | 3 | 5..=7 | 9..) => return None,
        // An address, more often than not.
        (8, _) => Shown::Perhaps,
        (..0, _) => Shown::Signed(bytes),
        _ => Shown::Unsigned(bytes),
    };
    if let Some(number) = operand.strip_prefix('$') {
        let shown = match shown {
            // Some compilers write those of a smaller type with a sign that it has not.
            _ if number.starts_with('-') => Shown::Signed(bytes),
            Shown::Perhaps => Shown::Unsigned(bytes),
            shown => shown,
        };
        return Some(Argument::constant(name, shown, integer(number)?));
    }
    if operand.starts_with('%') {
        return Some(Argument::register(name, shown, register(operand)?));
    }
    let (displacement, rest) = operand.split_once('(')?;
    let mut parts = rest.strip_suffix(')')?.split(',').map(str::trim);
    let base = parts.next()?;
    let base = if base.is_empty() { NO_REGISTER } else { register(base)? };
    let index = parts.next().map(register);
    let scale = match (index.is_some(), parts.next()) {
        (false, _) => 0,
        (true, None) => 1,
        (true, Some(scale)) => scale.parse().ok().filter(|scale| [1, 2, 4, 8].contains(scale))?,
    };
    let index = index.unwrap_or(Some(NO_REGISTER))?;
    let offset = match displacement {
        "" => 0,
        text => match integer(text) {
            Some(number) => number,
            // `name+8`
            None if base == RIP => {
                let at = text[1..].find(['+', '-']).map_or(text.len(), |at| at + 1);
                let (named, more) = text.split_at(at);
                let more = if more.is_empty() { 0 } else { integer(more)? };
                symbol(named)?.checked_add(more)?
            }
            None => return None,
        },
    };
    Some(Argument::memory(name, shown, bytes, (base, index, scale), offset))
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()? as i64,
        None => digits.parse::<u64>().ok()? as i64,
    };
    Some(if negative { number.wrapping_neg() } else { number })
}

/// A register by DWARF's numbers; none for those that a probe cannot read, such as %xmm0, or the
/// second byte of one.
fn register(name: &str) -> Option<u8> {
    let name = name.strip_prefix('%')?;
    if name == "rip" {
        return Some(RIP);
    }
    if let Some(rest) = name.strip_prefix('r') {
        let digits = rest.trim_end_matches(['d', 'w', 'b']);
        if let Ok(number @ 8..=15) = digits.parse() {
            return Some(number);
        }
    }
    // rdi, edi, di and dil; rax, eax, ax and al.
    let core = name.strip_prefix(['r', 'e']).unwrap_or(name);
    let full = match core {
        "al" => "ax",
        "bl" => "bx",
        "cl" => "cx",
        "dl" => "dx",
        _ => core.strip_suffix('l').unwrap_or(core),
    };
    let known = ["ax", "dx", "cx", "bx", "si", "di", "bp", "sp"];
    known.iter().position(|known| *known == full).map(|number| number as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_by_all_their_names() {
        for (name, number) in [
            ("%rax", 0),
            ("%eax", 0),
            ("%ax", 0),
            ("%al", 0),
            ("%dil", 5),
            ("%esi", 4),
            ("%rsp", 7),
            ("%bpl", 6),
            ("%r8", 8),
            ("%r15d", 15),
            ("%r9b", 9),
            ("%rip", 16),
        ] {
            assert_eq!(register(name), Some(number), "{name}");
        }
        for name in ["%xmm0", "%ah", "rax", "%", "%r16", "%r7", "%l", ""] {
            assert_eq!(register(name), None, "{name}");
        }
    }

    #[test]
    fn operands_of_every_form() {
        let symbol = |name: &str| (name == "counter").then_some(100);
        let known = "-4@%edi 8@-16(%rbp) 4@$-7 2@(%rax,%rbx,4) 1@8(,%r9,2) 8@counter+8(%rip) \
                     8@counter(%rip) 8@%rsi";
        let arguments = arguments(known, &symbol);
        let found: Vec<String> = arguments.iter().map(|one| format!("{one:?}")).collect();
        assert_eq!(arguments.len(), 8);
        for (at, parts) in [
            (0, ["Signed(4)", "from: 2", "base: 5"]),
            (1, ["Perhaps", "base: 6", "constant: -16"]),
            (2, ["Signed(4)", "from: 1", "constant: -7"]),
            (3, ["index: 3", "scale: 4", "bytes: 2"]),
            (4, ["base: 255", "index: 9", "constant: 8"]),
            (5, ["base: 16", "constant: 108", "from: 3"]),
            (6, ["base: 16", "constant: 100", "scale: 0"]),
            (7, ["Perhaps", "base: 4", "is_text: 1"]),
        ] {
            assert!(parts.iter().all(|part| found[at].contains(part)), "{}: {parts:?}", found[at]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_there_and_unknown() {
        let hostile =
            "8f@%xmm0 4@other(%rip) 99@%rax 8@(%rax 8@ @ x 8@%rax,% 8@(%rax,%rbx,3) -@%rax";
        let arguments = arguments(hostile, &|_| None);
        assert_eq!(arguments.len(), 10);
        for argument in arguments {
            assert_eq!(argument.value(1, 0, b""), crate::model::Value::None, "{argument:?}");
        }
        assert_eq!(super::arguments(&"8@%rax ".repeat(100), &|_| None).len(), ARGUMENTS_MAX);
    }
}
