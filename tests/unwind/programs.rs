//! Programs compiled here, whose functions are known to need one rule or another.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};
use rprof::unwind::{Image, Kind, Rbp, Rule, Table};

use super::table;

/// A program built by cc from C sources, each with options of its own.
pub struct Program {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl Program {
    fn build(sources: &[(&str, &[&str])], link: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut objects = Vec::new();
        for (at, (source, options)) in sources.iter().enumerate() {
            let file = dir.path().join(format!("{at}.c"));
            let object = file.with_extension("o");
            fs::write(&file, source).unwrap();
            run(Command::new("cc").args(["-O2", "-c", "-o"]).args([&object, &file]).args(*options));
            objects.push(object);
        }
        run(Command::new("cc").arg("-o").arg(&path).args(objects).args(link));
        Self { _dir: dir, path }
    }

    fn table(&self) -> Table {
        table(&fs::read(&self.path).unwrap())
    }

    /// The addresses of a function; Go may call it by an older calling convention.
    fn function(&self, name: &str) -> std::ops::Range<u64> {
        let data = fs::read(&self.path).unwrap();
        let file = ElfFile64::<object::LittleEndian, _>::parse(data.as_slice()).unwrap();
        let is = |found: &str| found.strip_suffix(".abi0").unwrap_or(found) == name;
        let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(is)).unwrap();
        symbol.address()..symbol.address() + symbol.size()
    }

    fn section(&self, name: &str) -> std::ops::Range<u64> {
        let data = fs::read(&self.path).unwrap();
        let file = ElfFile64::<object::LittleEndian, _>::parse(data.as_slice()).unwrap();
        let section = file.section_by_name(name).unwrap();
        section.address()..section.address() + section.size()
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const MAIN: &str = r#"
    #include <alloca.h>
    #include <stdlib.h>
    void use(void *);
    long hole(long);
    __attribute__((noinline)) long leaf(long x) { return x * 3; }
    __attribute__((noinline)) void grows(long n) { char *p = alloca(n); use(p); }
    __attribute__((noinline)) void realigns(long n) {
        _Alignas(64) char wide[256]; char *p = alloca(n); use(wide); use(p);
    }
    __attribute__((noinline)) void dies(void) { char c[40]; use(c); abort(); }
    __attribute__((noinline)) long calls(long x) { char c[40]; use(c); return leaf(x) + 1; }
    int main(int argc, char **argv) {
        if (argc > 9) dies();
        grows(argc); realigns(argc);
        return calls(argc) + hole(argc);
    }
"#;
const USE: &str = "void use(void *p) { *(volatile char *)p = 1; }";
const HOLE: &str = r#"
    void use(void *);
    long hole(long x) { char c[100]; use(c); use(c + 9); return x; }
"#;
const PLAIN: &[&str] = &["-fomit-frame-pointer", "-fcf-protection=none", "-fno-stack-protector"];
const BARE: &[&str] = &["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];

/// A program with a function that `.eh_frame` does not describe, compiled with options `hole`.
pub fn sample(hole: &[&str], link: &[&str]) -> Program {
    Program::build(&[(MAIN, PLAIN), (HOLE, &[BARE, hole].concat()), (USE, PLAIN)], link)
}

#[test]
fn names_the_rules_of_a_compiled_program() {
    let program = sample(&[], &["-Wl,-z,lazy"]);
    let table = program.table();
    let kinds = |name: &str| {
        let mut rules: Vec<Rule> = program.function(name).map(|pc| table.lookup(pc)).collect();
        rules.dedup();
        rules
    };
    assert_eq!(kinds("leaf"), [Rule::plain(Kind::Sp, 8)]);
    let body = |rules: Vec<Rule>| rules.into_iter().find(|rule| rule.kind != Kind::Sp).unwrap();
    let grows = body(kinds("grows"));
    assert_eq!((grows.kind, grows.cfa_offset), (Kind::Bp, 16));
    assert_eq!((grows.rbp, grows.rbp_offset), (Rbp::Cfa, -16));
    let realigns = kinds("realigns");
    let deref = realigns.iter().find(|rule| rule.kind == Kind::BpDeref).unwrap();
    assert_eq!((deref.rbp, deref.rbp_offset, deref.parameter), (Rbp::Frame, 0, 0));
    assert!(realigns.iter().any(|rule| rule.kind == Kind::Register && rule.parameter == 10));
    // The return address behind the last call lies in another function: unwinders ask for the
    // byte before it.
    let dies = program.function("dies");
    assert!(table.lookup(dies.end - 1).cfa_offset > 8, "{:?}", table.lookup(dies.end - 1));
    assert_eq!(table.lookup(program.function("_start").end - 2).kind, Kind::End);
    let hole = program.function("hole");
    assert!(hole.clone().all(|pc| table.lookup(pc) == Rule::NONE));
    assert_ne!(table.lookup(hole.start - 64), Rule::NONE);
    assert_eq!(table.lookup(u64::MAX), Rule::NONE);
    assert_eq!(table.lookup(0), Rule::NONE);
}

#[test]
fn tells_the_halves_of_a_plt_entry() {
    let program = sample(&[], &["-Wl,-z,lazy"]);
    let plt = program.section(".plt");
    let mut described = fs::read(&program.path).unwrap();
    let check = |image: &[u8]| {
        let table = table(image);
        assert_eq!(table.lookup(plt.start), Rule::plain(Kind::Sp, 16));
        assert_eq!(table.lookup(plt.start + 6), Rule::plain(Kind::Sp, 24));
        let entry = table.lookup(plt.start + 16);
        assert_eq!((entry.kind, entry.parameter, entry.cfa_offset), (Kind::Plt, 11, 8));
        table.facts().plt
    };
    // _init and _fini, which nobody describes.
    let ends = check(&described);
    let size = |name| program.section(name).end - program.section(name).start;
    assert_eq!(ends, size(".init") + size(".fini"));
    // The same without what the linker says of it, as LLVM's leaves it: make its FDE one for
    // another address. FDEs of the PLT are the last but those of .plt.got.
    let mut hidden = 0;
    let section = program.section(".eh_frame");
    let data = described.clone();
    let file = ElfFile64::<object::LittleEndian, _>::parse(data.as_slice()).unwrap();
    let (offset, _) = file.section_by_name(".eh_frame").unwrap().file_range().unwrap();
    for at in (0..section.end - section.start - 4).step_by(4) {
        let place = (offset + at) as usize;
        let value = i32::from_le_bytes(data[place..place + 4].try_into().unwrap());
        if (section.start + at).wrapping_add_signed(value.into()) == plt.start {
            described[place..place + 4].copy_from_slice(&[0; 4]);
            hidden += 1;
        }
    }
    assert_eq!(hidden, 1);
    assert_eq!(check(&described), ends + plt.end - plt.start);
}

#[test]
fn debug_frame_fills_holes() {
    for compression in ["-gz=none", "-gz=zlib", "-gz=zlib-gnu"] {
        let program = sample(&["-g"], &["-g", compression]);
        let table = program.table();
        let hole = program.function("hole");
        assert_eq!(table.lookup(hole.start), Rule::plain(Kind::Sp, 8), "{compression}");
        assert!(hole.clone().any(|pc| table.lookup(pc).cfa_offset > 100));
        assert_eq!(table.facts().debug, hole.end - hole.start);
        assert_eq!(table.facts().broken, 0);
    }
}

#[test]
fn section_headers_are_not_needed() {
    let program = sample(&[], &[]);
    let mut image = fs::read(&program.path).unwrap();
    let whole = table(&image);
    let key = Image::read(image.as_slice()).unwrap().key().unwrap();
    image[40..48].fill(0);
    image[60..64].fill(0);
    let bare = table(&image);
    for name in ["main", "calls", "realigns", "_start", "hole"] {
        for pc in program.function(name) {
            assert_eq!(bare.lookup(pc), whole.lookup(pc), "{name} {pc:#x}");
        }
    }
    let other = Image::read(image.as_slice()).unwrap().key().unwrap();
    assert_eq!(key.build_id, other.build_id);
}

#[test]
fn static_programs_end_and_return_from_signals() {
    for link in [["-static"], ["-static-pie"]] {
        let source = r#"
            #include <pthread.h>
            #include <signal.h>
            static void *run(void *p) { return p; }
            int main(void) {
                pthread_t t; signal(SIGUSR1, SIG_IGN);
                return pthread_create(&t, 0, run, 0);
            }
        "#;
        let program = Program::build(&[(source, PLAIN)], &link);
        let table = program.table();
        // A signal frame's address is looked up as a return address, so one byte earlier.
        let restore = program.function("__restore_rt").start;
        assert_eq!(table.lookup(restore), Rule::plain(Kind::Signal, 0));
        assert_eq!(table.lookup(restore - 1), Rule::plain(Kind::Signal, 0));
        for name in ["_start", "__clone", "__clone3"] {
            let ends = program.function(name).any(|pc| table.lookup(pc) == Rule::END);
            assert!(ends, "{name}");
        }
    }
}

#[test]
fn vdso_from_memory() {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else {
        return;
    };
    let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut image = vec![0; (end - start) as usize];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut image, start).unwrap();
    let elf = Image::read(image.as_slice()).unwrap();
    assert!(!elf.key().unwrap().build_id.is_empty());
    let table = Table::build(&elf).unwrap();
    assert!(table.facts().covered > 1000, "{:?}", table.facts());
    assert_eq!(rprof::unwind::bias(elf.segments(), start, 0), Some(start));
}

#[test]
fn mappings_turn_into_addresses_of_the_file() {
    let here = mappings_turn_into_addresses_of_the_file as *const () as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let (start, offset) = maps
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let hex = |text| u64::from_str_radix(text, 16).ok();
            let offset = hex(words.nth(1)?)?;
            (hex(start)?..hex(end)?).contains(&here).then_some((hex(start)?, offset))
        })
        .unwrap();
    let file = File::open("/proc/self/exe").unwrap();
    let image = Image::read(&file).unwrap();
    let address = here.wrapping_sub(rprof::unwind::bias(image.segments(), start, offset).unwrap());
    assert_eq!(Table::build(&image).unwrap().lookup(address), Rule::plain(Kind::Sp, 8));
    let data = fs::read("/proc/self/exe").unwrap();
    let file = ElfFile64::<object::LittleEndian, _>::parse(data.as_slice()).unwrap();
    let name = "mappings_turn_into_addresses_of_the_file";
    assert!(file.symbols().any(|symbol| {
        symbol.address() == address && symbol.name().is_ok_and(|symbol| symbol.contains(name))
    }));
}

#[test]
fn go_programs_unwind_by_table_in_the_innermost_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (source, path) = (dir.path().join("main.go"), dir.path().join("program"));
    let text = r#"
        package main
        //go:noinline
        func leaf(x int) int { return x*3 + 1 }
        //go:noinline
        func calls(x int) int { var b [9]int; for i := range b { b[i] = leaf(x) }; return b[x] }
        func main() { println(calls(1)) }
    "#;
    fs::write(&source, text).unwrap();
    let mut go = Command::new("go");
    go.args(["build", "-o"]).args([&path, &source]).env("GOCACHE", dir.path().join("cache"));
    go.env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    if go.output().is_err() {
        return;
    }
    run(&mut go);
    let program = Program { _dir: dir, path };
    let table = program.table();
    let rsp = |cfa_offset| Rule { parameter: 7, ..Rule::plain(Kind::Register, cfa_offset) };
    assert!(program.function("main.leaf").all(|pc| table.lookup(pc) == rsp(8)));
    let calls = program.function("main.calls");
    assert_eq!(table.lookup(calls.start), rsp(8));
    let body = table.lookup((calls.start + calls.end) / 2);
    assert_eq!((body.kind, body.rbp, body.rbp_offset), (Kind::Register, Rbp::Cfa, -16));
    assert!(body.cfa_offset > 9 * 8);
    // Where the scheduler's stacks begin.
    for root in ["runtime.mstart", "runtime.mcall", "runtime.morestack"] {
        assert!(program.function(root).all(|pc| table.lookup(pc) == Rule::END), "{root}");
    }
}
