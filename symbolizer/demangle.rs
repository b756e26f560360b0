//! Names as programmers wrote them. Only names that carry the prefix of a
//! mangling scheme are touched: a C function called `f` stays `f`. A frame of
//! a flame graph has room for little, so parameters, return types and Rust's
//! hashes are left out: `std::sort<int*>`, not
//! `void std::sort<int*>(int*, int*) [17h0123456789abcdef]`.

use std::fmt::{self, Write};

/// The longest name kept, in bytes; a longer one ends in `…`. Nested
/// templates can double a name with every character of its mangled form.
pub const MAX_NAME: usize = 4096;

/// The deepest nesting that is followed in a mangled C++ name.
const MAX_DEPTH: u32 = 96;

/// The demangled form of `name`, or `None` where `name` is not mangled, or
/// is mangled in a way that does not parse: then it is best shown as it is.
///
/// Suffixes that compilers add to clones (`.cold`, `.part.0`) are kept,
/// except the module hash of `.llvm.`.
///
/// ```
/// assert_eq!(symbolizer::demangle("_ZN5space3fooEii").as_deref(), Some("space::foo"));
/// assert_eq!(symbolizer::demangle("main"), None);
/// ```
#[must_use]
pub fn demangle(name: &str) -> Option<String> {
    if name.len() > MAX_NAME * 8 {
        return None;
    }
    let mangled = match name {
        _ if name.starts_with("_Z") || name.starts_with("_R") => name,
        // Apple's linkers, and the block functions of clang, put more
        // underscores in front.
        _ if name.starts_with("__Z") || name.starts_with("__R") => &name[1..],
        _ if name.starts_with("___Z") => &name[2..],
        _ => return None,
    };
    // What compilers and linkers append starts so; Rust's first scheme has
    // dots in its names as well.
    let mut dots = mangled.match_indices(['.', '@']).map(|(dot, _)| dot);
    let end = dots.clone().find(|&dot| is_legacy_rust(&mangled[..dot]));
    let whole = is_legacy_rust(mangled);
    let end = if whole { None } else { end.or_else(|| dots.next()) };
    let (body, suffix) = mangled.split_at(end.unwrap_or(mangled.len()));
    let mut out = Bounded::default();
    // A library that panics on a hostile name must not take the profiler
    // with it.
    let body = std::panic::AssertUnwindSafe(body);
    let written = std::panic::catch_unwind(|| {
        let done = if body.starts_with("_R") || is_legacy_rust(&body) {
            rust(&body, &mut out)
        } else {
            cpp(&body, &mut out)
        };
        done.then_some(out)
    });
    let mut text = written.ok().flatten()?.finish()?;
    if !suffix.starts_with(".llvm.") {
        text.push_str(suffix);
    }
    Some(text)
}

/// Whether `name` carries the prefix of a mangling scheme.
pub(crate) fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R") || name.starts_with("__Z")
}

/// `_ZN..17h` and sixteen hexadecimal digits and `E`: rustc's first scheme,
/// which borrows the form of C++.
fn is_legacy_rust(name: &str) -> bool {
    let Some(name) = name.strip_suffix('E') else {
        return false;
    };
    let bytes = name.as_bytes();
    let Some(at) = bytes.len().checked_sub(19) else {
        return false;
    };
    bytes[at..].starts_with(b"17h") && bytes[at + 3..].iter().all(u8::is_ascii_hexdigit)
}

fn rust(name: &str, out: &mut Bounded) -> bool {
    match rustc_demangle::try_demangle(name) {
        Ok(name) => write!(out, "{name:#}").is_ok() || out.full,
        Err(_) => false,
    }
}

fn cpp(name: &str, out: &mut Bounded) -> bool {
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(MAX_DEPTH);
    // What is followed by something else is no name of C++.
    let Ok((symbol, [])) =
        cpp_demangle::BorrowedSymbol::with_tail_and_options(name.as_bytes(), &parse)
    else {
        return false;
    };
    let options = cpp_demangle::DemangleOptions::new()
        .no_params()
        .no_return_type()
        .recursion_limit(MAX_DEPTH);
    symbol.structured_demangle(out, &options).is_ok() || out.full
}

/// A text that refuses to grow beyond [`MAX_NAME`], which also ends the work
/// of the one who writes to it.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    fn finish(mut self) -> Option<String> {
        if self.full {
            self.text.push('…');
        }
        (!self.text.is_empty()).then_some(self.text)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = MAX_NAME - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        let mut end = room;
        while !piece.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&piece[..end]);
        self.full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, demangle};

    #[test]
    fn names_of_c_are_left_alone() {
        for name in ["a", "b", "c", "f", "main", "i", "_start", "Z", "_", "", "_ZZ", "_R", "_Z"] {
            assert_eq!(demangle(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_cpp_lose_parameters_and_return_type() {
        for (name, plain) in [
            ("_Z3fooi", "foo"),
            ("_ZN5space3fooEii", "space::foo"),
            ("__ZN5space3fooEii", "space::foo"),
            ("_ZSt4sortIPiEvT_S1_", "std::sort<int*>"),
            ("_ZN1AC2Ev", "A::A"),
            ("_ZNK1AplERKS_", "A::operator+"),
            ("_ZN5space3fooEii.cold", "space::foo.cold"),
            ("_ZN5space3fooEii.part.0", "space::foo.part.0"),
            ("_ZN5space3fooEii@plt", "space::foo@plt"),
        ] {
            assert_eq!(demangle(name).as_deref(), Some(plain), "{name}");
        }
    }

    #[test]
    fn names_of_rust_lose_their_hash() {
        for (name, plain) in [
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
            ("_ZN3foo3bar17h05af221e174051e9E.llvm.123456", "foo::bar"),
            (
                "_ZN36_$LT$T$u20$as$u20$core..any..Any$GT$7type_id17h0123456789abcdefE",
                "<T as core::any::Any>::type_id",
            ),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
        ] {
            assert_eq!(demangle(name).as_deref(), Some(plain), "{name}");
        }
    }

    #[test]
    fn a_name_cannot_explode() {
        let mut name = String::from("_Z1fI");
        for depth in 0..60 {
            let _ = std::fmt::Write::write_fmt(&mut name, format_args!("S{depth}_IS_S_E"));
        }
        name.push_str("EvT_");
        let long = format!("_ZN{}E", "1a".repeat(5000));
        for name in [name, long, format!("_R{}", "B_".repeat(1000))] {
            let plain = demangle(&name).unwrap_or_default();
            assert!(plain.len() <= MAX_NAME + "…".len(), "{}", plain.len());
        }
    }
}
