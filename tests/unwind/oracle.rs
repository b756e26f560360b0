//! Every row of real files, evaluated as DWARF says on made-up registers and memory.
//!
//! This shares nothing with the tables but gimli's rows: the step that a table's rule describes
//! has to arrive at the same frame.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, Encoding, EndianSlice, EvaluationResult, Location, Register,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, Value,
};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags, elf};
use rprof::unwind::{ALIGNMENT, Image, Kind, RBX_LOST, Rbp, Rule, Table};

use super::Random;

type Slice<'a> = EndianSlice<'a, gimli::LittleEndian>;
type Fde<'a> = gimli::FrameDescriptionEntry<Slice<'a>>;

/// The general registers by their DWARF numbers; number 16 is rip.
const REGISTERS: [u64; 17] = {
    let mut registers = [0; 17];
    let mut at = 0;
    while at < 17 {
        registers[at] = 0x7fff_1234_5670 + 0x1_0110 * at as u64;
        at += 1;
    }
    registers
};
const RBX: u16 = 3;
const RBP: u16 = 6;
const RSP: u16 = 7;
const RIP: u16 = 16;

/// Memory in which every address holds another value.
fn memory(address: u64) -> u64 {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// A caller: its CFA, its rip, its rbp and rbx where they are known.
#[derive(Debug, PartialEq)]
struct Caller {
    cfa: u64,
    rip: u64,
    rbp: Option<u64>,
    rbx: Option<u64>,
}

/// The step that a rule describes, or nothing for those that describe none.
fn step(rule: Rule, registers: &[u64; 17]) -> Option<Caller> {
    let [rbx, rbp, rsp] = [RBX, RBP, RSP].map(|number| registers[usize::from(number)]);
    let add = |base: u64| base.wrapping_add_signed(rule.cfa_offset.into());
    let parameter = u64::from(rule.parameter);
    let cfa = match rule.kind {
        Kind::Sp => add(rsp),
        Kind::Bp => add(rbp),
        Kind::SpDeref => memory(add(rsp)).wrapping_add(8 * parameter),
        Kind::BpDeref => memory(add(rbp)).wrapping_add(8 * parameter),
        Kind::Plt => add(rsp) + 8 * u64::from(registers[usize::from(RIP)] & 15 >= parameter),
        Kind::Register => add(registers[usize::from(rule.parameter)]),
        Kind::Signal => {
            let registers = [0x78, 0x80, 0xa0, 0xa8].map(|offset| memory(rsp + offset));
            let [rbp, rbx, cfa, rip] = registers;
            return Some(Caller { cfa, rip, rbp: Some(rbp), rbx: Some(rbx) });
        }
        Kind::Return => {
            let rip = registers[usize::from(rule.parameter)];
            return Some(Caller { cfa: add(rsp), rip, rbp: Some(rbp), rbx: Some(rbx) });
        }
        Kind::None | Kind::End | Kind::Odd => return None,
    };
    let at = |base: u64| Some(memory(base.wrapping_add_signed(rule.rbp_offset.into())));
    let rbp = match rule.rbp {
        Rbp::Same => Some(rbp),
        Rbp::Cfa => at(cfa),
        Rbp::Frame => at(rbp),
        Rbp::Lost => None,
    };
    let rbx = match rule.rbx {
        0 => Some(rbx),
        RBX_LOST => None,
        words => Some(memory(cfa.wrapping_sub(8 * u64::from(words)))),
    };
    Some(Caller { cfa, rip: memory(cfa.wrapping_sub(8)), rbp, rbx })
}

/// What DWARF says of one row.
struct Oracle<'o, 'a> {
    section: &'o EhFrame<Slice<'a>>,
    encoding: Encoding,
    registers: [u64; 17],
}

impl Oracle<'_, '_> {
    fn evaluate(&self, expression: &UnwindExpression<usize>, cfa: Option<u64>) -> u64 {
        let mut evaluation = expression.get(self.section).unwrap().evaluation(self.encoding);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut state = evaluation.evaluate().unwrap();
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register: Register(number), .. } => {
                    let value = Value::Generic(self.registers[usize::from(number)]);
                    evaluation.resume_with_register(value).unwrap()
                }
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    evaluation.resume_with_memory(Value::Generic(memory(address))).unwrap()
                }
                other => panic!("{other:?}"),
            };
        }
        match evaluation.as_result()[0].location {
            Location::Address { address } => address,
            ref other => panic!("{other:?}"),
        }
    }

    /// The value that a register has in the caller; nothing if it is undefined.
    fn saved(&self, rule: Option<RegisterRule<usize>>, own: u64, cfa: u64) -> Option<u64> {
        match rule {
            None | Some(RegisterRule::SameValue) => Some(own),
            Some(RegisterRule::Undefined) => None,
            Some(RegisterRule::Offset(offset)) => Some(memory(cfa.wrapping_add_signed(offset))),
            Some(RegisterRule::Expression(e)) => Some(memory(self.evaluate(&e, Some(cfa)))),
            Some(RegisterRule::Register(Register(from))) => Some(self.registers[usize::from(from)]),
            other => panic!("{other:?}"),
        }
    }

    /// The caller, or nothing if there is none.
    fn caller(&self, row: &UnwindTableRow<usize>) -> Option<Caller> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register: Register(number), offset } => {
                self.registers[usize::from(*number)].wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(expression, None),
        };
        let saved = |number| {
            let own = self.registers[usize::from(number)];
            self.saved(row.register(Register(number)), own, cfa)
        };
        Some(Caller { cfa, rip: saved(RIP)?, rbp: saved(RBP), rbx: saved(RBX) })
    }
}

/// How a file compared.
#[derive(Debug, Default)]
struct Compared {
    addresses: u64,
    odd: u64,
    lost: u64,
    broken: u64,
}

/// Compares rule and row at one address.
fn compare(table: &Table, oracle: &Oracle<'_, '_>, row: &UnwindTableRow<usize>, pc: u64) -> Rule {
    let mut oracle = Oracle { registers: oracle.registers, ..*oracle };
    oracle.registers[usize::from(RIP)] = pc;
    let rule = table.lookup(pc);
    let expected = oracle.caller(row);
    match rule.kind {
        Kind::Odd => {}
        Kind::End => assert_eq!(expected, None, "{pc:#x}"),
        Kind::None => panic!("{pc:#x} has no rule"),
        _ => {
            let got = step(rule, &oracle.registers).unwrap();
            let mut expected = expected.unwrap_or_else(|| panic!("{pc:#x} has no caller"));
            let popped = rule.kind == Kind::Sp
                && rule.rbp == Rbp::Same
                && matches!(row.register(Register(RBP)), Some(RegisterRule::Expression(_)));
            if rule.rbp == Rbp::Lost || popped {
                expected.rbp = got.rbp;
            }
            if rule.rbx == RBX_LOST {
                expected.rbx = None;
            }
            assert_eq!(got, expected, "{pc:#x} {rule:?}");
        }
    }
    rule
}

/// Compares the table of the file at `path` with all rows of its `.eh_frame`.
fn compare_file(path: &Path) -> Compared {
    let file = File::open(path).unwrap();
    let image = Image::read(&file).unwrap();
    let table = Table::build(&image).unwrap();
    assert_eq!(Table::decode(&table.encode()).unwrap(), table);

    let data = fs::read(path).unwrap();
    let file = ElfFile64::<object::LittleEndian, _>::parse(data.as_slice()).unwrap();
    let section = file.section_by_name(".eh_frame").unwrap();
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let section = EhFrame::new(section.data().unwrap(), gimli::LittleEndian);
    let mut fdes = functions(&section, &bases);
    let code: Vec<(u64, u64)> = file
        .segments()
        .filter(|segment| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return false };
            p_flags.contains(elf::PF_X)
        })
        .map(|segment| (segment.address(), segment.address() + segment.size()))
        .collect();
    fdes.retain(|fde| code.iter().any(|(start, end)| (*start..*end).contains(&fde.0)));

    let mut compared = Compared::default();
    let mut context = UnwindContext::new();
    let mut random = Random(1);
    for (at, (start, end, fde)) in fdes.iter().enumerate() {
        let next = fdes.get(at + 1).map_or(u64::MAX, |next| next.0);
        let encoding = fde.cie().encoding();
        let oracle = Oracle { section: &section, encoding, registers: REGISTERS };
        let mut rows = fde.rows(&section, &bases, &mut context).unwrap();
        loop {
            let row = match rows.next_row() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(_) => {
                    compared.broken += 1;
                    break;
                }
            };
            let (from, to) = (row.start_address(), row.end_address().min(*end).min(next));
            if from >= to {
                continue;
            }
            for pc in [from, to - 1, from + random.below(to - from)] {
                let rule = compare(&table, &oracle, row, pc);
                compared.addresses += 1;
                compared.odd += u64::from(rule.kind == Kind::Odd);
                compared.lost += u64::from(rule.rbp == Rbp::Lost);
            }
        }
        holes(&file, &table, (*end).max(*start), next, &mut random);
    }
    compared
}

/// The functions of a section in the order of their addresses, the first of equal ones.
fn functions<'a>(section: &EhFrame<Slice<'a>>, bases: &BaseAddresses) -> Vec<(u64, u64, Fde<'a>)> {
    let mut entries = section.entries(bases);
    let mut fdes = Vec::new();
    while let Some(entry) = entries.next().unwrap() {
        if let gimli::CieOrFde::Fde(partial) = entry {
            let fde = partial.parse(EhFrame::cie_from_offset).unwrap();
            fdes.push((fde.initial_address(), fde.end_address(), fde));
        }
    }
    fdes.retain(|(start, end, _)| start < end);
    fdes.sort_by_key(|(start, ..)| *start);
    fdes.dedup_by_key(|(start, ..)| *start);
    fdes
}

/// Between two functions there is no rule, but for padding and what linkers put there.
fn holes(
    file: &ElfFile64<'_, object::LittleEndian>,
    table: &Table,
    start: u64,
    end: u64,
    random: &mut Random,
) {
    let debug = [".debug_frame", ".zdebug_frame"];
    let debug = debug.iter().any(|name| file.section_by_name(name).is_some());
    let padding = end.wrapping_sub(start) < ALIGNMENT && end.is_multiple_of(ALIGNMENT);
    if start >= end || debug || padding {
        return;
    }
    let stubs: Vec<(u64, u64)> = [".plt", ".plt.sec", ".plt.got", ".iplt", ".init", ".fini"]
        .iter()
        .filter_map(|name| file.section_by_name(name))
        // With the padding before it.
        .map(|section| (section.address() - ALIGNMENT, section.address() + section.size()))
        .collect();
    for pc in [start, end - 1, start + random.below(end - start)] {
        if !stubs.iter().any(|(start, end)| (*start..*end).contains(&pc)) {
            assert_eq!(table.lookup(pc), Rule::NONE, "{pc:#x} in a hole");
        }
    }
}

/// Programs and libraries of many compilers and languages, as far as this machine has them.
pub fn system_files() -> Vec<PathBuf> {
    let libraries = "/usr/lib/x86_64-linux-gnu";
    let mut paths: Vec<PathBuf> =
        ["node", "git", "bash", "perl", "python3", "ld.bfd", "ssh", "vim"]
            .iter()
            .map(|name| Path::new("/usr/bin").join(name))
            .chain(
                [
                    "libc.so.6",
                    "libm.so.6",
                    "ld-linux-x86-64.so.2",
                    "libstdc++.so.6",
                    "libcrypto.so.3",
                ]
                .iter()
                .chain(&["libgcc_s.so.1", "libz.so.1", "libgcrypt.so.20", "libmvec.so.1"])
                .map(|name| Path::new(libraries).join(name)),
            )
            .collect();
    let root = Command::new("rustc").args(["--print", "sysroot"]).output();
    if let Ok(root) = root {
        let root = PathBuf::from(String::from_utf8(root.stdout).unwrap().trim()).join("lib");
        let files = fs::read_dir(root).into_iter().flatten().flatten();
        let drivers = files.filter(|file| {
            file.file_name().to_str().is_some_and(|name| name.starts_with("librustc_driver"))
        });
        paths.extend(drivers.map(|file| file.path()));
    }
    paths.retain(|path| path.exists());
    paths
}

#[test]
fn agrees_with_gimli_on_system_files() {
    let paths = system_files();
    assert!(paths.len() >= 10, "too few of the files known here: {paths:?}");
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) =
                    paths.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let compared = compare_file(path);
                    println!("{}: {compared:?}", path.display());
                    assert!(compared.addresses > 0);
                    assert!((compared.odd + compared.lost) * 200 <= compared.addresses);
                }
            });
        }
    });
}
