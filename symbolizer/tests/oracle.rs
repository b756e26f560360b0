//! Every instruction of real programs, against what blazesym says of it: the
//! same functions, files, lines and inlined calls, by other code.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use blazesym::symbolize::{Input, Symbolizer, source};
use symbolizer::{Image, Symbol, demangle};

type Plain = (String, Option<String>, u32);

fn ours(symbols: &[Symbol]) -> Vec<Plain> {
    symbols.iter().map(|symbol| (symbol.name.clone(), symbol.file.clone(), symbol.line)).collect()
}

fn place(info: Option<&blazesym::symbolize::CodeInfo<'_>>) -> (Option<String>, u32) {
    match info {
        Some(info) => (Some(info.to_path().display().to_string()), info.line.unwrap_or(0)),
        None => (None, 0),
    }
}

/// Innermost first, as here.
fn theirs(symbol: &blazesym::symbolize::Sym<'_>) -> Vec<Plain> {
    let plain = |name: &str| demangle(name).unwrap_or_else(|| name.to_owned());
    let mut all = Vec::new();
    for inlined in symbol.inlined.iter().rev() {
        let (file, line) = place(inlined.code_info.as_ref());
        all.push((plain(&inlined.name), file, line));
    }
    let (file, line) = place(symbol.code_info.as_deref());
    all.push((plain(&symbol.name), file, line));
    all
}

/// Share of the addresses, in per cent, on which both agree.
fn compare(path: &Path, show: usize) -> f64 {
    let addresses = common::instructions(path);
    let image = Image::open_path(path).unwrap();
    let found = image.symbolize(&addresses);
    // What is kept for the next batch says the same, however few it asks for.
    for (addresses, found) in addresses.chunks(997).zip(found.chunks(997)).step_by(7) {
        assert_eq!(image.symbolize(addresses), found);
    }
    let symbolizer = Symbolizer::builder().enable_demangling(false).build();
    let source = source::Source::Elf(source::Elf::new(path));
    let expected = symbolizer.symbolize(&source, Input::VirtOffset(&addresses)).unwrap();
    let (mut same, mut total, mut shown) = (0, 0, 0);
    for ((address, mine), other) in addresses.iter().zip(&found).zip(&expected) {
        let Some(other) = other.as_sym() else { continue };
        total += 1;
        let (mine, other) = (ours(mine), theirs(other));
        if mine == other {
            same += 1;
        } else if (mine.is_empty() || mine[0].0.ends_with("@plt")) && other[0].1.is_none() {
            // blazesym lets `_init`, which has no size, cover the sections
            // that follow its own.
            total -= 1;
        } else if shown < show {
            shown += 1;
            println!("{address:#x}\n  {mine:?}\n  {other:?}");
        }
    }
    println!("{}: {same} of {total}, {} addresses", path.display(), addresses.len());
    100.0 * f64::from(same) / f64::from(total.max(1))
}

#[test]
fn agrees_on_c_of_both_generations_of_dwarf() {
    for flags in [["-g", "-O2"], ["-gdwarf-4", "-O2"], ["-gdwarf-3", "-O0"], ["-gz", "-O3"]] {
        let built = common::Built::new("cc", "c.c", common::C, &flags);
        let share = compare(&built.program, 5);
        assert!(share == 100.0, "{flags:?}: {share}");
    }
}

#[test]
fn agrees_on_cpp() {
    let text = include_str!("templates.cpp");
    let built = common::Built::new("g++", "templates.cpp", text, &["-g", "-O2"]);
    let share = compare(&built.program, 10);
    assert!(share == 100.0, "{share}");
}

/// A little less: of functions that the linker found to be the same code and
/// folded into one, each picks one name.
#[test]
fn agrees_on_rust() {
    let text = include_str!("generics.rs.txt");
    let built = common::Built::new("rustc", "generics.rs", text, &["-g", "-O"]);
    let share = compare(&built.program, 3);
    assert!(share > 99.8, "{share}");
}
