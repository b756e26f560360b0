//! Programs compiled here, with their debug information where compilers,
//! distributions and packagers put it.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Built, C, run, symbols};
use symbolizer::{Image, Symbol, Symbols};

/// Names of the functions at the address, innermost first.
fn names(symbols: &Symbols) -> Vec<&str> {
    symbols.iter().map(|symbol| symbol.name.as_str()).collect()
}

/// All that is known of the code of `outer`.
fn of_outer(image: &Image, start: u64) -> Vec<Symbols> {
    let addresses: Vec<u64> = (start..start + 24).collect();
    image.symbolize(&addresses)
}

/// Line of the program text that contains `part`.
fn line(part: &str) -> u32 {
    let at = C.lines().position(|line| line.contains(part)).unwrap();
    u32::try_from(at).unwrap() + 1
}

fn assert_chain(image: &Image, start: u64) {
    let found = of_outer(image, start);
    let chain = found.iter().find(|symbols| symbols.len() == 3).expect("an inlined chain");
    assert_eq!(names(chain), ["inner", "middle", "outer"]);
    let file = chain[0].file.as_deref().unwrap();
    assert!(file.ends_with("/program.c") && file.starts_with('/'), "{file}");
    assert!(chain[0].line >= line("sink = x;"), "{chain:?}");
    assert_eq!(chain[1].line, line("return inner(x) + 1"), "{chain:?}");
    assert_eq!(chain[2].line, line("int y = middle(x)"), "{chain:?}");
}

#[test]
fn functions_files_lines_and_inlined_calls() {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        for extra in ["-fpie", "-gz", "-flto", "-ffunction-sections"] {
            let built = Built::new("cc", "program.c", C, &[version, "-O2", extra]);
            let image = Image::open_path(&built.program).unwrap();
            assert!(image.facts().debug_info && image.facts().symbols);
            assert_chain(&image, symbols(&built.program)["outer"]);
            assert!(!image.is_broken());
        }
    }
}

#[test]
fn zstd_sections() {
    let built = Built::new("cc", "program.c", C, &["-g", "-O2"]);
    let flag = "--compress-debug-sections=zstd";
    let output = std::process::Command::new("objcopy")
        .args([flag, "program", "compressed"])
        .current_dir(built.path())
        .output()
        .unwrap();
    // binutils before 2.40 cannot; then the sections stay as they are.
    let name = if output.status.success() { "compressed" } else { "program" };
    let image = Image::open_path(&built.path().join(name)).unwrap();
    assert_chain(&image, symbols(&built.program)["outer"]);
}

#[test]
fn names_only_without_debug_information() {
    let built = Built::new("cc", "program.c", C, &["-O2"]);
    let all = symbols(&built.program);
    let image = Image::open_path(&built.program).unwrap();
    let plain = |name: &str| Symbol {
        name: name.into(),
        system_name: None,
        file: None,
        line: 0,
        column: 0,
    };
    let found = image.symbolize(&[all["outer"], all["main"], all["outer"] + 2]);
    assert_eq!(found[0], [plain("outer")]);
    assert_eq!(found[1], [plain("main")]);
    assert_eq!(found[2], found[0]);
}

#[test]
fn what_has_no_name_gets_none() {
    let built = Built::new("cc", "program.c", C, &["-O2"]);
    let image = Image::open_path(&built.program).unwrap();
    let found = image.symbolize(&[0, 1, 0x7fff_ffff, u64::MAX, u64::MAX - 1]);
    assert!(found.iter().all(Vec::is_empty), "{found:?}");
    assert_eq!(image.symbolize(&[]), Vec::<Symbols>::new());
    run("strip", &["program"], built.path());
    let image = Image::open_path(&built.program).unwrap();
    assert!(!image.facts().symbols && !image.facts().debug_info);
    let outer = symbols(&built.program).get("outer").copied();
    assert_eq!(outer, None);
    assert!(image.symbolize(&[0x1150])[0].is_empty());
}

#[test]
fn a_symbol_without_size_covers_up_to_the_next() {
    let text = ".text\n.globl first\nfirst: nop\nnop\n.globl second\n.type second,@function\n\
                second: nop\nnop\n.size second,.-second\nnop\n.globl third\nthird: nop\nnop\n\
                .section .text.other,\"ax\"\nnop\n.globl main\nmain: nop\n";
    let built = Built::new("cc", "program.s", text, &["-nostdlib", "-Wl,-e,main"]);
    let all = symbols(&built.program);
    let image = Image::open_path(&built.program).unwrap();
    let first = all["first"];
    let found = image.symbolize(&(first..first + 7).collect::<Vec<_>>());
    let expected: [&[&str]; 7] =
        [&["first"], &["first"], &["second"], &["second"], &[], &["third"], &["third"]];
    for (symbols, expected) in found.iter().zip(expected) {
        assert_eq!(names(symbols), expected, "{found:?}");
    }
}

#[test]
fn stubs_are_named_after_the_function_they_call() {
    for flags in [["-O2", "-Wl,-z,lazy"], ["-O2", "-Wl,-z,now"], ["-O2", "-fcf-protection=full"]] {
        let built = Built::new("cc", "program.c", C, &flags);
        let sections = run("objdump", &["-h", "program"], built.path());
        let mut stubs = Vec::new();
        for line in sections.lines().filter(|line| line.contains(" .plt")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| u64::from_str_radix(words[at], 16).unwrap();
            stubs.extend(number(3)..number(3) + number(2));
        }
        let image = Image::open_path(&built.program).unwrap();
        let found = image.symbolize(&stubs);
        let named = |name: &str| found.iter().filter(|symbols| names(symbols) == [name]).count();
        assert_eq!((named("puts@plt"), named("getc@plt") + named("getchar@plt")), (16, 16));
        let others = found.iter().flatten().filter(|symbol| !symbol.name.ends_with("@plt"));
        assert_eq!(others.count(), 0);
    }
}

#[test]
fn detail_costs_and_is_chosen() {
    use symbolizer::Detail;
    let built = Built::new("cc", "program.c", C, &["-g", "-O2"]);
    let outer = symbols(&built.program)["outer"];
    let open = |detail| Image::open_path(&built.program).unwrap().with_detail(detail);
    let plain = of_outer(&open(Detail::Names), outer);
    assert!(plain.iter().all(|symbols| symbols.len() == 1 && symbols[0].file.is_none()));
    assert_chain(&open(Detail::Own), outer);
    run("objcopy", &["--only-keep-debug", "program", "program.debug"], built.path());
    run("strip", &["program"], built.path());
    run("objcopy", &["--add-gnu-debuglink=program.debug", "program"], built.path());
    // Beside the program it is its own.
    assert_chain(&open(Detail::Own), outer);
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join(built.path().strip_prefix("/").unwrap());
    std::fs::create_dir_all(&below).unwrap();
    let debug = below.join("program.debug");
    std::fs::rename(built.path().join("program.debug"), debug).unwrap();
    let open = |detail| open(detail).with_debug_directories(vec![directory.path().into()]);
    let own = of_outer(&open(Detail::Own), outer);
    assert!(own.iter().all(|symbols| names(symbols) == ["outer"] && symbols[0].file.is_none()));
    assert_chain(&open(Detail::Full), outer);
}

#[test]
fn debug_file_by_link_and_checksum() {
    let built = Built::new("cc", "program.c", C, &["-g", "-O2", "-Wl,--build-id=none"]);
    let outer = symbols(&built.program)["outer"];
    let here = built.path();
    run("objcopy", &["--only-keep-debug", "program", "program.debug"], here);
    run("strip", &["program"], here);
    run("objcopy", &["--add-gnu-debuglink=program.debug", "program"], here);
    assert!(Image::open_path(&built.program).unwrap().build_id().is_none());
    let opened = || Image::open_path(&built.program).unwrap();
    assert_chain(&opened(), outer);
    assert_eq!(opened().facts().debug_link.as_deref(), Some("program.debug"));

    std::fs::create_dir(here.join(".debug")).unwrap();
    std::fs::rename(here.join("program.debug"), here.join(".debug/program.debug")).unwrap();
    assert_chain(&opened(), outer);

    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join(here.strip_prefix("/").unwrap());
    std::fs::create_dir_all(&below).unwrap();
    let moved = below.join("program.debug");
    std::fs::rename(here.join(".debug/program.debug"), &moved).unwrap();
    let image = opened().with_debug_directories(vec![directory.path().into()]);
    assert_chain(&image, outer);

    // A debug file of another build has the name, but not the checksum.
    let other = Built::new("cc", "program.c", C, &["-g", "-O0", "-Wl,--build-id=none"]);
    run("objcopy", &["--only-keep-debug", "program", moved.to_str().unwrap()], other.path());
    let image = opened().with_debug_directories(vec![directory.path().into()]);
    assert_eq!(image.facts().debug_file, None);
    assert!(image.symbolize(&[outer])[0].is_empty());
}

#[test]
fn debug_file_by_build_id() {
    let built = Built::new("cc", "program.c", C, &["-g", "-O2", "-Wl,--build-id=sha1"]);
    let outer = symbols(&built.program)["outer"];
    let image = Image::open_path(&built.program).unwrap();
    let id: String = image.build_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    let debug = folder.join(format!("{}.debug", &id[2..]));
    let debug_name = debug.to_str().unwrap();
    run("objcopy", &["--only-keep-debug", "program", debug_name], built.path());
    run("objcopy", &["--compress-debug-sections=zlib", debug_name], built.path());
    run("strip", &["program"], built.path());
    let opened = || {
        let image = Image::open_path(&built.program).unwrap();
        image.with_debug_directories(vec![directory.path().into()])
    };
    assert_eq!(opened().facts().debug_file.as_deref(), Some(debug_name));
    assert_chain(&opened(), outer);

    // The right name, but a file of another program.
    let other = Built::new("cc", "program.c", C, &["-g", "-O0", "-Wl,--build-id=sha1"]);
    std::fs::copy(&other.program, &debug).unwrap();
    assert_eq!(opened().facts().debug_file, None);
}

#[test]
fn mini_debug_info() {
    let built = Built::new("cc", "program.c", C, &["-O2"]);
    let outer = symbols(&built.program)["outer"];
    let here = built.path();
    run("objcopy", &["--strip-debug", "program", "mini"], here);
    run("xz", &["-k", "mini"], here);
    run("strip", &["program"], here);
    run("objcopy", &["--add-section", ".gnu_debugdata=mini.xz", "program"], here);
    let image = Image::open_path(&built.program).unwrap();
    assert!(image.facts().mini_debug_info);
    assert_eq!(names(&image.symbolize(&[outer + 1])[0]), ["outer"]);
}

#[test]
fn programs_of_32_bits() {
    let built = Built::new("cc", "program.c", C, &["-g", "-O2"]);
    // The headers of a 32-bit libc may be missing, and are not needed.
    let text = C
        .replace("#include <stdio.h>", "")
        .replace("puts(\"ready\"); fflush(stdout); getchar();", ";");
    std::fs::write(built.path().join("program.c"), text).unwrap();
    run("cc", &["-m32", "-g", "-O2", "-c", "program.c", "-o", "narrow.o"], built.path());
    let linked = ["-m", "elf_i386", "--unresolved-symbols=ignore-all", "-e", "outer"];
    let mut arguments = linked.to_vec();
    arguments.extend(["narrow.o", "-o", "narrow"]);
    run("ld", &arguments, built.path());
    let narrow = built.path().join("narrow");
    let image = Image::open_path(&narrow).unwrap();
    assert_chain(&image, symbols(&narrow)["outer"]);
}

#[test]
fn templates_and_lambdas_of_cpp() {
    let text = include_str!("templates.cpp");
    let built = Built::new("g++", "program.cpp", text, &["-g", "-O2"]);
    let image = Image::open_path(&built.program).unwrap();
    let found = image.symbolize(&common::instructions(&built.program));
    let all: std::collections::BTreeSet<&str> =
        found.iter().flatten().map(|symbol| symbol.name.as_str()).collect();
    for name in [
        "shapes::area",
        "shapes::Stack<int>::total",
        "main",
        "std::vector<int, std::allocator<int> >::push_back",
    ] {
        assert!(all.contains(name), "{name} is not in {all:#?}");
    }
    let area = found.iter().flatten().find(|symbol| symbol.name == "shapes::area").unwrap();
    assert_eq!(area.system_name.as_deref(), Some("_ZN6shapes4areaEi"));
}

#[test]
fn generics_of_rust() {
    let text = include_str!("generics.rs.txt");
    for flags in [["-Copt-level=2", "-g"], ["-Csymbol-mangling-version=v0", "-g"]] {
        let built = Built::new("rustc", "program.rs", text, &flags);
        let image = Image::open_path(&built.program).unwrap();
        let total = symbols(&built.program)
            .into_iter()
            .find(|(name, _)| {
                let name = symbolizer::demangle(name).unwrap_or_default();
                name.starts_with("program::total") && !name.contains("closure")
            })
            .map(|(_, address)| address)
            .unwrap();
        let found = image.symbolize(&[total]);
        let outer = found[0].last().unwrap();
        assert_eq!(outer.name.trim_end_matches("::<program::Square>"), "program::total");
        assert!(outer.file.as_deref().unwrap().ends_with("program.rs"));
    }
}

#[test]
fn images_are_shared_by_threads_and_caches_are_dropped() {
    use rayon::prelude::{IntoParallelIterator, ParallelIterator};
    let built = Built::new("cc", "program.c", C, &["-g", "-O2"]);
    let outer = symbols(&built.program)["outer"];
    let image = Image::open_path(&built.program).unwrap();
    (0..64).into_par_iter().for_each(|at| {
        if at % 8 == 0 {
            symbolizer::cache::clear();
        }
        assert_chain(&image, outer);
    });
    let many: Vec<Image> = (0..symbolizer::cache::MAX_FILES * 2)
        .map(|_| Image::open_path(&built.program).unwrap())
        .collect();
    for image in many.iter().chain(&many) {
        assert_chain(image, outer);
    }
}

#[test]
fn what_is_no_program_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "hello").unwrap();
    let error = Image::open_path(&path).unwrap_err().to_string();
    assert_eq!(error, "not an ELF file");
    assert!(Image::open_path(folder.path()).is_err());
    assert!(Image::open_path(Path::new("/dev/zero")).is_err());
    let error = Image::open_path(Path::new("/no/such")).unwrap_err().to_string();
    assert!(error.contains("/no/such") && error.contains("No such file"), "{error}");
}
