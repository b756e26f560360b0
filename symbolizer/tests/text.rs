//! Text that other programs and the kernel write: maps, perf maps, kallsyms.
#![allow(clippy::unwrap_used)]

use proptest::prelude::{any, prop, proptest};
use symbolizer::{Error, Kind, Maps, kernel, perfmap};

const MAPS: &str = "\
55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1234                       /usr/bin/cat
55d0c8a02000-55d0c8a07000 r-xp 00002000 fe:01 1234                       /usr/bin/cat
55d0c9000000-55d0c9021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000001000-7f0000002000 r-xs 00001000 00:01 77                         /memfd:doublemapper (deleted)
7f0000002000-7f0000003000 r-xp 00000000 fe:01 99                         /tmp/two words\\012line (deleted)
7f0000003000-7f0000004000 r-xp 00000000 00:01 5                          /dev/zero (deleted)
7f0000004000-7f0000005000 r-xp 00000000 00:00 0                          [anon:v8 code]
7f0000005000-7f0000006000 r-xp 00000000 00:05 8                          /dev/dri/card0
this is no mapping
7ffe00000000-7ffe00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

#[test]
fn maps_tell_files_from_memory() {
    let maps = Maps::parse(MAPS.as_bytes(), false);
    assert_eq!((maps.mappings.len(), maps.malformed, maps.refused), (11, 1, 0));
    let kinds: Vec<Kind<'_>> = maps.mappings.iter().map(symbolizer::Mapping::kind).collect();
    let expected = [
        Kind::File,
        Kind::File,
        Kind::Special("[heap]"),
        Kind::Anonymous,
        Kind::File,
        Kind::File,
        Kind::Anonymous,
        Kind::Anonymous,
        Kind::Special("/dev/dri/card0"),
        Kind::Vdso,
        Kind::Vsyscall,
    ];
    assert_eq!(kinds, expected);
    let cat = &maps.mappings[1];
    assert_eq!((cat.device, cat.inode, cat.deleted), ((0xfe, 1), 1234, false));
    assert_eq!(cat.file_offset(0x55d0_c8a0_2010), Some(0x2010));
    assert_eq!(cat.file_offset(0x55d0_c8a0_7000), None);
    let memfd = &maps.mappings[4];
    assert!(memfd.deleted && memfd.may_be_jit());
    assert_eq!(maps.mappings[5].path, "/tmp/two words\nline");
    assert!(maps.mappings[5].deleted);
    assert_eq!(maps.find(0x7f00_0000_0800).unwrap().start, 0x7f00_0000_0000);
    assert_eq!(maps.find(0x1000), None);
}

#[test]
fn maps_of_code_only() {
    let maps = Maps::parse(MAPS.as_bytes(), true);
    assert!(maps.mappings.iter().all(|mapping| mapping.executable));
    assert_eq!(maps.mappings.len(), 9);
    let own = Maps::read(std::process::id(), true).unwrap();
    let here = maps_tell_files_from_memory as *const () as usize as u64;
    assert_eq!(own.find(here).unwrap().kind(), Kind::File);
    assert!(matches!(Maps::read(u32::MAX, true), Err(Error::Io(..))));
}

#[test]
fn maps_are_bounded() {
    let text: String = (0..70_000u64)
        .map(|at| format!("{:x}-{:x} r-xp 0 0:0 0\n", at * 2 + 1, at * 2 + 2))
        .collect();
    let maps = Maps::parse(text.as_bytes(), true);
    assert_eq!(maps.mappings.len(), symbolizer::maps::MAX_MAPPINGS);
    assert_eq!(maps.refused, 70_000 - maps.mappings.len() as u64);
}

#[test]
fn later_lines_of_a_perf_map_win() {
    let text = "\
1000 100 first
1080 100 second of them
2000 10 LazyCompile:*f /x.js:3
0x3000 0x10 with prefix
2000 0 nothing
zzzz 10 garbage
2000
10 ffffffffffffffff everything before 1000
1000 8 third
";
    let wanted = [0x1000, 0x1007, 0x1008, 0x1080, 0x117f, 0x1180, 0x2000, 0x300f, 0x3010, 5];
    let everything = Some("everything before 1000");
    let (names, malformed) = perfmap::scan(text.as_bytes(), &wanted).unwrap();
    assert_eq!(malformed, 3);
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    let late = [Some("third"), Some("third")];
    assert_eq!(names[..2], late);
    assert_eq!(names[2..9], [everything; 7]);
    assert_eq!(names[9], None);
    let shorter = text.replace("10 ffffffffffffffff everything before 1000\n", "");
    let (names, _) = perfmap::scan(shorter.as_bytes(), &wanted).unwrap();
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    let second = Some("second of them");
    let expected = [
        Some("third"),
        Some("third"),
        Some("first"),
        second,
        second,
        None,
        Some("LazyCompile:*f /x.js:3"),
        Some("with prefix"),
        None,
        None,
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_long_line_of_a_perf_map_is_one_line() {
    let text = format!("1000 10 {}\n2000 10 next\n", "n".repeat(100_000));
    let (names, malformed) = perfmap::scan(text.as_bytes(), &[0x1000, 0x2000]).unwrap();
    assert_eq!(malformed, 0);
    assert!(names[0].as_deref().unwrap().len() < 2000);
    assert_eq!(names[1].as_deref(), Some("next"));
}

#[test]
fn kallsyms_name_the_nearest_function() {
    let text = "\
ffffffff81000000 T _stext
ffffffff81000100 t local
ffffffff81000180 D data
ffffffffc0000000 t of_module\t[ext4]
ffffffffc0001000 t bpf_prog_6deef7357e7b4530_handle\t[bpf]
";
    let wanted = [0xffff_ffff_8100_01ff, 0xffff_ffff_c000_1004, 0xffff_ffff_c000_0001, 5, !0];
    let found = kernel::scan(text.as_bytes(), &wanted).unwrap();
    assert_eq!(found[0].as_ref().unwrap().name, "local");
    assert_eq!(found[1].as_ref().unwrap().module.as_deref(), Some("bpf"));
    assert_eq!(found[2].as_ref().unwrap().module.as_deref(), Some("ext4"));
    assert_eq!((&found[3], &found[4]), (&None, &None));
    let hidden = "0000000000000000 T _stext\n0000000000000000 t local\n";
    assert!(matches!(kernel::scan(hidden.as_bytes(), &wanted), Err(Error::Absent(_))));
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Maps::parse(&text, false);
        let _ = perfmap::scan(text.as_slice(), &[0, 0x1000, u64::MAX]);
        let _ = kernel::scan(text.as_slice(), &[0, 0x1000, u64::MAX]);
    }

    #[test]
    fn no_number_is_too_large(
        lines in prop::collection::vec((any::<u64>(), any::<u64>(), "[ -~]{0,20}"), 0..50),
        wanted in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let text: String =
            lines.iter().map(|(start, size, name)| format!("{start:x} {size:x} {name}\n")).collect();
        let (names, _) = perfmap::scan(text.as_bytes(), &wanted).unwrap();
        for (address, name) in wanted.iter().zip(names) {
            let covers = |line: &&(u64, u64, String)| {
                address.checked_sub(line.0).is_some_and(|into| into < line.1)
                    && !line.2.trim().is_empty()
            };
            let expected = lines.iter().rev().find(covers).map(|line| line.2.trim().to_owned());
            assert_eq!(name, expected);
        }
    }

    #[test]
    fn no_name_is_too_mangled(name in "(_Z|_R|__Z|_ZN)[ -~]{0,200}") {
        let _ = symbolizer::demangle(&name);
    }
}
