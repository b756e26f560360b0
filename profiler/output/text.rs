//! Text made safe and short for people.
//!
//! Names come from programs that nobody vouches for: a function may be called anything, escape
//! sequences and a megabyte of template arguments included. Numbers are written here too, so that
//! the same number reads the same in every output.

use std::borrow::Cow;

/// Characters that move a cursor, turn the direction of writing, cannot be seen, or may not be in
/// XML: none of them is part of an honest name.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// `text` with each character that a terminal or an XML reader could act on replaced by U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(is_hostile) {
        text.replace(is_hostile, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// `text` cut to `limit` characters, in its middle: both ends of a name tell more than its inside.
pub fn shorten(text: &str, limit: usize) -> Cow<'_, str> {
    // A text has no more characters than bytes, so that most need no counting.
    let length = if text.len() <= limit { 0 } else { text.chars().count() };
    if length <= limit {
        return text.into();
    }
    let head = limit.saturating_sub(1).div_ceil(2);
    let tail = limit.saturating_sub(1) - head;
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(length - tail));
    short.into()
}

/// `text` as one frame of a folded line.
///
/// The format has no quoting: `;` ends a frame, a last word of digits is a count, `#` may start a
/// remark, and spaces at the ends are dropped, so a name that would be misread is changed.
pub fn folded(text: &str) -> String {
    let text = clean(text);
    let mut text = match text.trim() {
        "" => "[unknown]".to_owned(),
        name => name.replace(';', ":"),
    };
    if text.starts_with("# ") {
        text.replace_range(1..2, "_");
    }
    if let Some(space) = text.rfind(char::is_whitespace)
        && text[space..].trim().chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        let width = text[space..].chars().next().map_or(1, char::len_utf8);
        text.replace_range(space..space + width, "_");
    }
    text
}

/// `line` broken at its dots where it has more than `limit` characters; what follows is indented.
pub fn wrap(line: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in line.split(" · ") {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 3 + part.chars().count() <= limit => {
                last.push_str(" · ");
                last.push_str(part);
            }
            Some(_) => lines.push(format!("  {part}")),
            None => lines.push(part.to_owned()),
        }
    }
    lines
}

/// A count with its thousands set apart: `1,234,567`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in per cent, to two places.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A value in its unit, to three digits: `1.23 s`, `45.6 MiB`, `1,234 cycles`; a count is a bare
/// number.
pub fn quantity(value: u64, unit: &str) -> String {
    let (name, size) = scale(value, unit);
    match value / size {
        _ if unit == "count" => thousands(value),
        _ if size == 1 => format!("{} {name}", thousands(value)),
        ..10 => format!("{:.2} {name}", value as f64 / size as f64),
        10..100 => format!("{:.1} {name}", value as f64 / size as f64),
        _ => format!("{} {name}", thousands(value.saturating_add(size / 2) / size)),
    }
}

/// As `quantity`, but in the unit that suits `most` and always to two places, so that a column
/// whose greatest value is `most` compares at a glance.
pub fn cell(value: u64, most: u64, unit: &str) -> String {
    match scale(most, unit) {
        _ if unit == "count" => thousands(value),
        (name, 1) => format!("{} {name}", thousands(value)),
        (name, size) => format!("{:.2} {name}", value as f64 / size as f64),
    }
}

/// The unit that `value` is best told in, and its size in `unit`.
fn scale(value: u64, unit: &str) -> (&str, u64) {
    const TIMES: &[(&str, u64)] = &[("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000)];
    const BYTES: &[(&str, u64)] =
        &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let (scale, smallest) = match unit {
        "nanoseconds" => (TIMES, "ns"),
        "bytes" => (BYTES, "B"),
        _ => (&[][..], unit),
    };
    scale.iter().find(|(_, size)| value >= *size).copied().unwrap_or((smallest, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_could_act_on_is_replaced() {
        assert_eq!(
            clean("a\x1b[31mb\u{9b}c\nd\u{202e}"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}"
        );
        assert!(matches!(clean("operator<=> «é» 漢"), Cow::Borrowed(_)));
        assert_eq!(clean("\u{fffd}"), "\u{fffd}");
    }

    #[test]
    fn both_ends_of_a_long_name_stay() {
        assert_eq!(shorten("abcdefgh", 8), "abcdefgh");
        assert_eq!(shorten("abcdefghi", 8), "abcd…ghi");
        assert_eq!(shorten("äöüäöü", 4), "äö…ü");
        assert_eq!(shorten("abc", 0).chars().count(), 1);
    }

    #[test]
    fn no_name_breaks_a_folded_line() {
        assert_eq!(folded("[u8; 8]"), "[u8: 8]");
        assert_eq!(folded(" a\nb "), "a\u{fffd}b");
        assert_eq!(folded("read 512"), "read_512");
        assert_eq!(folded("v 1 2.5"), "v 1_2.5");
        assert_eq!(folded("# no remark"), "#_no remark");
        assert_eq!(folded(" "), "[unknown]");
        assert_eq!(folded("\u{3000}a\u{3000}7"), "a_7");
    }

    #[test]
    fn lines_break_between_parts() {
        assert_eq!(wrap("one · two · three", 11), ["one · two", "  three"]);
        assert_eq!(wrap("one · two · three", usize::MAX), ["one · two · three"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123), "123");
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(quantity(9_990_000_000, "nanoseconds"), "9.99 s");
        assert_eq!(quantity(10_101_010, "nanoseconds"), "10.1 ms");
        assert_eq!(quantity(0, "nanoseconds"), "0 ns");
        assert_eq!(quantity(123_456_000_000_000, "nanoseconds"), "123,456 s");
        assert_eq!(quantity(1536, "bytes"), "1.50 KiB");
        assert_eq!(quantity(20 << 30, "bytes"), "20.0 GiB");
        assert_eq!(quantity(1023, "bytes"), "1,023 B");
        assert_eq!(quantity(1500, "count"), "1,500");
        assert_eq!(quantity(1500, "cycles"), "1,500 cycles");
        assert_eq!(cell(20_000_000, 1_230_000_000, "nanoseconds"), "0.02 s");
    }
}
