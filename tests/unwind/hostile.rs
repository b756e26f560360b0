//! Files made to break the reader: none may make it panic, hang, or take memory without bound.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};
use rprof::unwind::{Error, Image, Kind, Rule, Table};

use super::harness::Harness;
use super::programs::sample;
use super::{Random, table};

/// What one file may take. Unoptimised and on a busy machine, hence so much.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does all that can be done with the bytes of a file.
fn exercise(image: &[u8], random: &mut Random) -> bool {
    let started = Instant::now();
    let built = Image::read(image).and_then(|elf| {
        let _ = elf.key();
        let _ = rprof::unwind::bias(elf.segments(), random.next(), random.next());
        Table::build(&elf)
    });
    if let Ok(table) = &built {
        let first = table.first_page() << 16;
        let size = (table.pages().len() as u64) << 16;
        for _ in 0..32 {
            let _ = table.lookup(first.wrapping_add(random.below(size)));
            let _ = table.lookup(random.next());
        }
        assert_eq!(&Table::decode(&table.encode()).unwrap(), table);
    }
    assert!(started.elapsed() < PATIENCE);
    built.is_ok()
}

/// Damages a file `times` times in each of its parts that are read; gives how often it still had
/// a table.
fn damage(whole: &[u8], times: usize, random: &mut Random) -> usize {
    let elf = ElfFile64::<object::LittleEndian, _>::parse(whole).unwrap();
    let sections = [".eh_frame", ".eh_frame_hdr", ".debug_frame", ".zdebug_frame", ".plt"];
    let ranges = sections
        .iter()
        .chain(&[".shstrtab", ".note.gnu.build-id"])
        .filter_map(|name| elf.section_by_name(name)?.file_range())
        // The headers, of the file, its segments, and its sections.
        .chain([(0, 0x400), (elf.elf_header().e_shoff.get(object::LittleEndian), 64 * 40)]);
    let mut survived = 0;
    for (start, size) in ranges {
        for _ in 0..times {
            let mut image = whole.to_vec();
            for _ in 0..1 + random.below(8) {
                let at = (start + random.below(size)) as usize % image.len();
                image[at] = match random.below(3) {
                    0 => image[at] ^ (1 << random.below(8)),
                    1 => random.next() as u8,
                    _ => [0, 0xff, 0x7f, 0x80][random.below(4) as usize],
                };
            }
            survived += usize::from(exercise(&image, random));
        }
    }
    survived
}

#[test]
fn damaged_files() {
    let mut random = Random(2);
    for compression in ["-gz=none", "-gz=zlib", "-gz=zlib-gnu"] {
        let whole = fs::read(sample(&["-g"], &["-g", compression]).path).unwrap();
        let survived = damage(&whole, 1000, &mut random);
        assert!(survived > 1000, "the damage is too great to tell anything: {survived}");
    }
}

#[test]
fn damaged_system_files() {
    // Of many functions, and of assembly with expressions of every kind.
    let path = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    let Ok(whole) = fs::read(path) else { return };
    let survived = damage(&whole, 30, &mut Random(4));
    assert!(survived > 50, "the damage is too great to tell anything: {survived}");
}

#[test]
fn any_instructions() {
    // Instructions that mean something, with operands that need not.
    let mut random = Random(6);
    let mut tables: Vec<Arc<Table>> = Vec::new();
    for _ in 0..3000 {
        let mut instructions = |most: u64| {
            let byte = |random: &mut Random| match random.below(4) {
                0 => random.below(0x17) as u8, // most instructions have such a number
                1 => [0x40, 0x80, 0xc0][random.below(3) as usize] | random.below(17) as u8,
                2 => random.below(17) as u8, // a register, a length
                _ => random.next() as u8,
            };
            (0..random.below(most)).map(|_| byte(&mut random)).collect::<Vec<u8>>()
        };
        let (head, bodies) = (instructions(6), [(); 12].map(|()| instructions(40)));
        let mut frames = Frames::default();
        let cie = frames.cie(&[START, &head].concat());
        for body in bodies {
            let start = CODE + random.below(CODE_SIZE);
            let bits = random.below(18);
            let size = random.below(1 << bits);
            frames.fde(cie, start, size, &body);
        }
        let image = frames.image();
        if exercise(&image, &mut random) {
            tables.push(Arc::new(table(&image)));
        }
    }
    assert!(tables.len() > 500, "too few were tables: {}", tables.len());
    // Nor does the kernel half, which relies on their form, find anything else in them.
    let mut harness = Harness::default();
    let mut asked = Vec::new();
    for table in &tables {
        let number = harness.store(table);
        let size = (table.pages().len() as u64 + 2) << 16;
        let start = (table.first_page() - 1) << 16;
        let addresses: Vec<u64> = (0..100).map(|_| start + random.below(size)).collect();
        harness.look_up(number, &addresses);
        asked.push(addresses);
    }
    for ((table, addresses), line) in tables.iter().zip(&asked).zip(harness.run()) {
        let rules = line.split_whitespace().map(|bits| u64::from_str_radix(bits, 16).unwrap());
        assert!(rules.map(Rule::unpack).eq(addresses.iter().map(|at| Some(table.lookup(*at)))));
    }
}

#[test]
fn files_cut_short() {
    let whole = fs::read(sample(&[], &[]).path).unwrap();
    let mut random = Random(3);
    for size in (0..whole.len()).step_by(29) {
        exercise(&whole[..size], &mut random);
    }
    assert!(matches!(Image::read(b"".as_slice()), Err(Error::NotElf)));
    assert!(matches!(Image::read([7; 500].as_slice()), Err(Error::NotElf)));
}

/// Where the code of [`elf`] starts, and how much there is.
pub const CODE: u64 = 0x40_0000;
const CODE_SIZE: u64 = 0x10_0000;
/// Where it has its `.eh_frame`.
const FRAMES: u64 = 0x4000_0000;

/// An ELF file of the fewest parts: headers, section names, `.eh_frame`.
fn elf(eh_frame: &[u8]) -> Vec<u8> {
    let names = b"\0.eh_frame\0.shstrtab\0";
    let frames_at = 64 + 56;
    let names_at = frames_at + eh_frame.len() as u64;
    let sections_at = names_at + names.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, values: &[u16]| {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let long = |out: &mut Vec<u8>, values: &[u64]| {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    half(&mut out, &[3, 62, 1, 0]);
    long(&mut out, &[CODE, 64, sections_at]);
    half(&mut out, &[0, 0, 64, 56, 1, 64, 3, 2]);
    // PT_LOAD, readable and executable. Its bytes are not there, and nobody reads them.
    long(&mut out, &[1 | 5 << 32, 0, CODE, CODE, CODE_SIZE, CODE_SIZE, 0x1000]);
    out.extend(eh_frame);
    out.extend(names);
    let section = |name: u64, kind: u64, address, offset, size: usize| {
        [name | kind << 32, 2, address, offset, size as u64, 0, 1, 0]
    };
    long(&mut out, &[0; 8]);
    long(&mut out, &section(1, 1, FRAMES, frames_at, eh_frame.len()));
    long(&mut out, &section(11, 3, 0, names_at, names.len()));
    out
}

/// `.eh_frame` under construction.
#[derive(Default)]
pub struct Frames(Vec<u8>);

/// CFA = rsp + 8, the return address at CFA - 8: how every function starts.
pub const START: &[u8] = &[0x0c, 7, 8, 0x90, 1];

impl Frames {
    fn entry(&mut self, body: &[u8]) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend((body.len() as u32).to_le_bytes());
        self.0.extend(body);
        at
    }

    /// Adds a CIE; addresses are absolute, factors 1 and -8. Gives where it is.
    pub fn cie(&mut self, instructions: &[u8]) -> u32 {
        self.entry(&[&[0, 0, 0, 0, 1, 0, 1, 0x78, 16], instructions].concat())
    }

    /// Adds a function of the CIE at `cie`.
    pub fn fde(&mut self, cie: u32, start: u64, size: u64, instructions: &[u8]) {
        let back = (self.0.len() as u32 + 4).wrapping_sub(cie);
        let parts: [&[u8]; 4] =
            [&back.to_le_bytes(), &start.to_le_bytes(), &size.to_le_bytes(), instructions];
        self.entry(&parts.concat());
    }

    pub fn image(&self) -> Vec<u8> {
        elf(&self.0)
    }
}

/// `DW_CFA_def_cfa_offset`, the offset below 128.
pub fn offset(offset: u8) -> [u8; 2] {
    [0x0e, offset]
}

fn sp(offset: i32) -> Rule {
    Rule::plain(Kind::Sp, offset)
}

#[test]
fn order_overlap_and_holes() {
    let mut frames = Frames::default();
    let cie = frames.cie(START);
    frames.fde(cie, CODE + 0x300, 0x100, &offset(48));
    frames.fde(cie, CODE + 0x100, 0x100, &[&offset(16)[..], &[0x40 | 0x20], &offset(24)].concat());
    // Terminators in the middle, as some links leave them, end nothing.
    frames.0.extend([0; 4]);
    frames.fde(cie, CODE + 0x180, 0x40, &offset(32));
    frames.fde(cie, CODE + 0x180, 0x80, &offset(99));
    frames.fde(cie, CODE + 0x280, 0, &offset(40));
    frames.fde(cie, CODE + 0x40f, 0x10, &offset(56));
    frames.fde(cie, CODE + 0x420, 0x10, &offset(64));
    // Neither in a segment, nor of a possible size.
    frames.fde(cie, 0x10, 0x20, &[]);
    frames.fde(cie, CODE + CODE_SIZE - 0x10, 0x100, &offset(80));
    frames.fde(cie, u64::MAX - 4, 0x100, &[]);
    frames.fde(cie, CODE + 0x500, 1 << 33, &[]);
    let table = table(&frames.image());
    for (at, rule) in [
        (0xff, Rule::NONE),
        (0x100, sp(16)),
        (0x11f, sp(16)),
        (0x120, sp(24)),
        (0x17f, sp(24)),
        (0x180, sp(32)),
        (0x1bf, sp(32)),
        (0x1c0, Rule::NONE),
        (0x280, Rule::NONE),
        (0x300, sp(48)),
        (0x400, Rule::NONE),
        (0x40f, sp(56)),
        (0x41f, sp(56)),
        (0x420, sp(64)),
        (0x430, Rule::NONE),
        (0x1_0000, Rule::NONE),
        (CODE_SIZE - 0x11, Rule::NONE),
        (CODE_SIZE - 1, sp(80)),
        (CODE_SIZE, Rule::NONE),
    ] {
        assert_eq!(table.lookup(CODE + at), rule, "{at:#x}");
    }
    assert_eq!(table.facts().outside, 0x20 + 0xf0);
    assert_eq!(table.pages().len(), 16);
}

#[test]
fn long_functions_start_every_page() {
    let mut frames = Frames::default();
    let cie = frames.cie(START);
    // DW_CFA_advance_loc4 into the third page, then far beyond the end.
    let far = [&[0x04, 0, 0, 2, 0][..], &offset(16), &[0x04, 0xff, 0xff, 0xff, 0xff], &offset(24)];
    frames.fde(cie, CODE, 0x8_0000, &far.concat());
    let table = table(&frames.image());
    for (at, rule) in [(0, sp(8)), (0x1_ffff, sp(8)), (0x2_0000, sp(16)), (0x7_ffff, sp(16))] {
        assert_eq!(table.lookup(CODE + at), rule, "{at:#x}");
    }
    assert_eq!(table.lookup(CODE + 0x8_0000), Rule::NONE);
    assert_eq!(table.rows().len(), 8);
}

#[test]
fn work_is_bounded() {
    // A CIE of 64 KiB that 20,000 functions refer to: 1.3 GB of instructions in 1 MB of file. Once
    // nothing, once states remembered and restored, which is the slowest there is.
    for filler in [[0, 0], [0x0a, 0x0b]] {
        let mut frames = Frames::default();
        let cie = frames.cie(&[START, &filler.repeat(0x8000)].concat());
        for at in 0..20_000 {
            frames.fde(cie, CODE + at, 1, &[]);
        }
        let image = frames.image();
        let elf = Image::read(image.as_slice()).unwrap();
        let started = Instant::now();
        let error = Table::build(&elf).unwrap_err();
        println!("{filler:?}: {error} after {:?}", started.elapsed());
        assert!(matches!(error, Error::TooBig { .. }));
        assert!(started.elapsed() < PATIENCE);
    }
}

#[test]
fn broken_entries_cost_only_themselves() {
    let mut frames = Frames::default();
    let cie = frames.cie(START);
    // States remembered without end, and one restored that was not.
    frames.fde(cie, CODE, 0x10, &[0x0a; 100_000]);
    frames.fde(cie, CODE + 0x20, 0x20, &[&[0x41][..], &offset(16), &[0x42, 0x0b]].concat());
    // CIEs that are none: a function, itself, beyond the section.
    let fde = frames.0.len() as u32;
    frames.fde(cie, CODE + 0x40, 0x10, &[]);
    frames.fde(fde, CODE + 0x50, 0x10, &[]);
    frames.fde(frames.0.len() as u32, CODE + 0x60, 0x10, &[]);
    frames.fde(u32::MAX - 50, CODE + 0x70, 0x10, &[]);
    // A CIE of an unknown version, with a function of it, and an unknown instruction.
    let unknown = frames.entry(&[0, 0, 0, 0, 9, 0, 1, 0x78, 16]);
    frames.fde(unknown, CODE + 0x80, 0x10, &[]);
    frames.fde(cie, CODE + 0x90, 0x10, &[0x3f]);
    frames.fde(cie, CODE + 0xa0, 0x10, &offset(24));
    // The last one is longer than the section.
    frames.0.extend([0xff, 0xff, 0xff, 0x7f, 1]);
    let table = table(&frames.image());
    for (at, rule) in [
        (0, Rule::ODD),
        (0x20, sp(8)),
        (0x21, sp(16)),
        (0x23, Rule::ODD),
        (0x40, sp(8)),
        (0x50, Rule::NONE),
        (0x60, Rule::NONE),
        (0x70, Rule::NONE),
        (0x80, Rule::NONE),
        (0x90, Rule::ODD),
        (0xa0, sp(24)),
    ] {
        assert_eq!(table.lookup(CODE + at), rule, "{at:#x}");
    }
    assert_eq!(table.facts().broken, 9);
}

#[test]
fn stored_tables_are_checked() {
    let mut frames = Frames::default();
    let cie = frames.cie(START);
    frames.fde(cie, CODE + 0x20, 0x3_0020, &[&[0x41][..], &offset(16)].concat());
    let whole = table(&frames.image()).encode();
    for size in 0..whole.len() {
        assert!(Table::decode(&whole[..size]).is_err());
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        assert!(Table::decode(&bytes).is_err(), "byte {at}");
    }
}
