//! From what a function takes to the registers that it takes it in.
//! System V ABI, AMD64 supplement, 3.2.3: numbers and addresses go into six registers in turn, and on
//! the stack behind those; floating point goes elsewhere, and a probe cannot read it. How a structure
//! is passed depends on more than is known here, so whatever follows one is not told.

use symbolizer::{Parameter, Shape, Signature};

use super::argument::{ARGUMENTS_MAX, Argument, CALL, NO_REGISTER, RAX, RSP, Shown};

/// The first word on the stack behind the return address.
const ON_STACK: i64 = 8;

/// True if a function is called as one of C. Rust's are, unless it says so, called in a way of its
/// own that differs from version to version.
pub fn is_of_c(symbol: &str) -> bool {
    let rust = symbol.starts_with("_R")
        || (symbol.starts_with("_ZN")
            && symbol.len() > 20
            && symbol.contains("17h")
            && symbol.ends_with('E'));
    // Copies that the compiler made take what it saw fit.
    let copy =
        [".isra", ".constprop", ".part", ".cold", ".llvm"].iter().any(|part| symbol.contains(part));
    !rust && !copy
}

/// The arguments at the entry; the registers as they are where nothing is known of them.
pub fn arguments(signature: Option<&Signature>) -> Vec<Argument> {
    let Some(signature) = signature else {
        let raw = CALL.iter().enumerate();
        return raw
            .map(|(number, &register)| {
                Argument::register(&format!("arg{number}"), Shown::Hex, register)
            })
            .collect();
    };
    let mut registers = CALL.iter();
    let mut stack = ON_STACK;
    let mut lost = false;
    // A large result goes where the first, hidden, argument says.
    match signature.result.as_ref().map(|result| result.shape) {
        Some(Shape::Aggregate(17..)) => drop(registers.next()),
        Some(Shape::Aggregate(_) | Shape::Unknown) => lost = true,
        _ => {}
    }
    let mut arguments = Vec::new();
    for (number, parameter) in signature.parameters.iter().take(ARGUMENTS_MAX).enumerate() {
        let name = match parameter.name.is_empty() {
            true => format!("arg{number}"),
            false => parameter.name.clone(),
        };
        let shown = shown(parameter.shape);
        lost |= shown.is_none() && !matches!(parameter.shape, Shape::Float(4 | 8));
        let argument = match shown {
            Some(shown) if !lost => match registers.next() {
                Some(&register) => Argument::register(&name, shown, register),
                None => {
                    let at = stack;
                    stack += 8;
                    Argument::memory(&name, shown, 8, (RSP, NO_REGISTER, 0), at)
                }
            },
            _ => Argument::unknown(&name),
        };
        arguments.push(argument.typed(&parameter.type_name));
    }
    arguments
}

/// What it returned.
pub fn result(signature: Option<&Signature>) -> Vec<Argument> {
    const NAME: &str = "result";
    let Some(signature) = signature else {
        return vec![Argument::register(NAME, Shown::Hex, RAX)];
    };
    let Some(result) = &signature.result else { return Vec::new() };
    let argument = match shown(result.shape) {
        Some(shown) => Argument::register(NAME, shown, RAX),
        None => Argument::unknown(NAME),
    };
    vec![argument.typed(&result.type_name)]
}

/// How a value that is passed as a number or an address is shown; none for others.
fn shown(shape: Shape) -> Option<Shown> {
    Some(match shape {
        Shape::Signed(bytes @ 1..=8) => Shown::Signed(bytes),
        Shape::Unsigned(bytes @ 1..=8) => Shown::Unsigned(bytes),
        Shape::Bool => Shown::Bool,
        Shape::Text => Shown::Text,
        Shape::Pointer => Shown::Hex,
        _ => return None,
    })
}

/// A signature in words: `(int fd, char * path) int`.
pub fn words(signature: &Signature) -> String {
    let parameter = |parameter: &Parameter| {
        let words = [&parameter.type_name[..], &parameter.name].map(str::trim);
        words.join(" ").trim().to_owned()
    };
    let mut words: Vec<String> = signature.parameters.iter().map(parameter).collect();
    if signature.variadic {
        words.push("...".into());
    }
    let result = signature.result.as_ref().map_or("void", |result| &result.type_name);
    format!("({}) {result}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, shape: Shape) -> Parameter {
        Parameter { name: name.into(), shape, type_name: String::new() }
    }

    fn places(result: Option<Shape>, shapes: &[Shape]) -> Vec<String> {
        let parameters = shapes.iter().map(|shape| parameter("x", *shape)).collect();
        let result = result.map(|shape| parameter("", shape));
        let signature = Signature { parameters, result, variadic: false };
        arguments(Some(&signature)).iter().map(|one| format!("{one:?}")).collect()
    }

    #[test]
    fn arguments_are_where_the_abi_puts_them() {
        let int = Shape::Signed(4);
        let eight = places(None, &[int; 8]);
        for (at, register) in [5, 4, 1, 2, 8, 9].into_iter().enumerate() {
            assert!(eight[at].contains(&format!("base: {register}")), "{}", eight[at]);
        }
        assert!(eight[6].contains("constant: 8") && eight[7].contains("constant: 16"));
        // Floating point takes none of them.
        let mixed = places(None, &[Shape::Float(8), int]);
        assert!(mixed[0].contains("from: 0") && mixed[1].contains("base: 5"), "{mixed:?}");
        // The address of a large result does.
        assert!(places(Some(Shape::Aggregate(24)), &[int])[0].contains("base: 4"));
        // What follows a structure is not known.
        let lost = places(None, &[int, Shape::Aggregate(8), int]);
        assert!(lost[0].contains("base: 5") && lost[2].contains("from: 0"), "{lost:?}");
    }

    #[test]
    fn calls_that_are_not_those_of_c() {
        for symbol in ["main", "_ZN5space3fooEii", "_Z3fooi"] {
            assert!(is_of_c(symbol), "{symbol}");
        }
        for symbol in ["_RNvC6_123foo3bar", "_ZN3foo3bar17h05af221e174051e9E", "f.isra.0"] {
            assert!(!is_of_c(symbol), "{symbol}");
        }
    }
}
