//! Broken and hostile files: fewer symbols or none, and an end in good time.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Built, C};
use symbolizer::Image;

/// Numbers that look random and are the same in every run (`xorshift64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Symbolizes all of the file at `path`; returns how much was found.
fn survive(path: &Path) -> usize {
    let start = Instant::now();
    let Ok(image) = Image::open_path(path) else { return 0 };
    let addresses: Vec<u64> = (0..0x2000).step_by(7).chain([u64::MAX]).collect();
    let found = image.symbolize(&addresses);
    let _ = (image.facts(), image.address(0x1000), image.build_id());
    assert_eq!(found.len(), addresses.len());
    assert!(!image.is_broken(), "a panic was caught");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    found.iter().map(Vec::len).sum()
}

fn programs() -> Vec<Built> {
    [["-g", "-gz"], ["-gdwarf-4", "-O2"], ["-gdwarf-5", "-O2"]]
        .iter()
        .map(|flags| Built::new("cc", "program.c", C, flags))
        .collect()
}

#[test]
fn cut_short() {
    for built in programs() {
        let whole = std::fs::read(&built.program).unwrap();
        assert!(survive(&built.program) > 0);
        let path = built.path().join("cut");
        for part in 0..100 {
            std::fs::write(&path, &whole[..whole.len() * part / 100]).unwrap();
            survive(&path);
        }
    }
}

#[test]
fn with_flipped_bits() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for built in programs() {
        let whole = std::fs::read(&built.program).unwrap();
        let path = built.path().join("flipped");
        for round in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..=dice.roll(40) {
                // Every other round goes for the headers, or for what stands
                // at the end: section headers and debug information.
                let at = match round % 4 {
                    0 => dice.roll(1024),
                    1 => bytes.len() - 1 - dice.roll(4096),
                    2 => 0x3000 + dice.roll(bytes.len() - 0x3000),
                    _ => dice.roll(bytes.len()),
                };
                bytes[at] ^= 1 << dice.roll(8);
            }
            std::fs::write(&path, &bytes).unwrap();
            survive(&path);
        }
    }
}

#[test]
fn with_words_overwritten() {
    let mut dice = Dice(42);
    let words = [0u64, 1, u64::MAX, u64::MAX >> 1, 1 << 32, 0xffff_ffff, 0x8000_0000, 0x1000];
    for built in programs() {
        let whole = std::fs::read(&built.program).unwrap();
        let path = built.path().join("words");
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=dice.roll(8) {
                let at = dice.roll(bytes.len() / 8 - 1) * 8;
                let word = words[dice.roll(words.len())].to_le_bytes();
                bytes[at..at + 8].copy_from_slice(&word);
            }
            std::fs::write(&path, &bytes).unwrap();
            survive(&path);
        }
    }
}

#[test]
fn calls_inlined_a_million_deep() {
    // Entries that nest as deep as the section is long: what recurses over
    // them has no stack left.
    let depth = 1_000_000;
    let text = format!(
        ".text\n.globl main\n.type main,@function\nmain: nop\nnop\n.size main,.-main\n\
         .section .debug_abbrev,\"\",@progbits\n\
         .byte 1,0x11,1,0x11,1,0x12,7,0,0\n\
         .byte 2,0x2e,1,0x11,1,0x12,7,3,8,0,0\n\
         .byte 3,0x1d,1,0,0\n.byte 0\n\
         .section .debug_info,\"\",@progbits\n\
         .long 2f-1f\n1: .short 4\n.long 0\n.byte 8\n\
         .byte 1\n.quad main\n.quad 2\n\
         .byte 2\n.quad main\n.quad 2\n.asciz \"deep\"\n\
         .fill {depth},1,3\n.fill {depth},1,0\n.byte 0,0\n2:\n"
    );
    let built = Built::new("cc", "program.s", &text, &["-nostdlib", "-Wl,-e,main"]);
    let main = common::symbols(&built.program)["main"];
    let image = Image::open_path(&built.program).unwrap();
    let found = image.symbolize(&[main]);
    assert_eq!(found[0].last().unwrap().name, "deep");
    assert!(!image.is_broken());
}

#[test]
fn names_that_refer_to_themselves() {
    let text = ".text\n.globl main\n.type main,@function\nmain: nop\nnop\n.size main,.-main\n\
         .section .debug_abbrev,\"\",@progbits\n\
         .byte 1,0x11,1,0x11,1,0x12,7,0,0\n\
         .byte 2,0x2e,0,0x11,1,0x12,7,0x31,0x13,0,0\n.byte 0\n\
         .section .debug_info,\"\",@progbits\n\
         0: .long 2f-1f\n1: .short 4\n.long 0\n.byte 8\n\
         .byte 1\n.quad main\n.quad 2\n\
         3: .byte 2\n.quad main\n.quad 2\n.long 3b-0b\n.byte 0\n2:\n";
    let built = Built::new("cc", "program.s", text, &["-nostdlib", "-Wl,-e,main"]);
    let main = common::symbols(&built.program)["main"];
    let image = Image::open_path(&built.program).unwrap();
    assert_eq!(image.symbolize(&[main])[0].last().unwrap().name, "main");
}

#[test]
fn sections_that_swell() {
    // 300 MB of zeros, in 300 kB.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zeros"), vec![0; 300 << 20]).unwrap();
    let built = Built::new("cc", "program.c", C, &["-O2"]);
    let zeros = folder.path().join("zeros");
    let section = format!(".debug_info={}", zeros.display());
    common::run("objcopy", &["--add-section", &section, "program", "swollen"], built.path());
    let flags = ["--compress-debug-sections=zlib", "swollen", "bomb"];
    common::run("objcopy", &flags, built.path());
    let bomb = built.path().join("bomb");
    assert!(std::fs::metadata(&bomb).unwrap().len() < 1 << 20);
    let image = Image::open_path(&bomb).unwrap();
    let outer = common::symbols(&built.program)["outer"];
    assert_eq!(image.symbolize(&[outer])[0][0].name, "outer");
}
