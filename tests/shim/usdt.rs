//! Notes of USDT probes: those of real files against what readelf reads of them, damaged ones, and
//! those of a process that runs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use rprof::{
    shim::{ALLOC, FREE, PROVIDER, Shim},
    unwind::{Image, Segment},
    usdt::{Probe, Probes, offers},
};

use super::workload::{Process, Workshop, need, run, wait_until};

fn probes(path: &Path) -> Probes {
    let file = File::open(path).unwrap();
    Probes::read(&Image::read(&file).unwrap()).unwrap()
}

/// What readelf says of the same file.
fn oracle(path: &Path) -> Vec<Probe> {
    let text = run(Command::new("readelf").arg("-n").arg(path).env("LC_ALL", "C"));
    let file = File::open(path).unwrap();
    let image = Image::read(&file).unwrap();
    let offset = |address: u64| {
        let inside = |s: &&Segment| (s.address..s.address + s.size).contains(&address);
        let segment = image.segments().iter().find(inside).unwrap();
        address - segment.address + segment.offset
    };
    let mut probes = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(provider) = line.strip_prefix("Provider: ") else { continue };
        let name = lines.next().unwrap().strip_prefix("Name: ").unwrap();
        let places = lines.next().unwrap().replace([',', ':'], "");
        let number = |word: &str| {
            let mut words = places.split(' ').skip_while(|each| *each != word);
            u64::from_str_radix(words.nth(1).unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        let semaphore = number("Semaphore");
        let arguments = lines.next().unwrap().strip_prefix("Arguments:").unwrap();
        probes.push(Probe {
            provider: provider.into(),
            name: name.into(),
            offset: offset(number("Location")),
            semaphore: (semaphore != 0).then(|| offset(semaphore)),
            arguments: arguments.trim_start().into(),
        });
    }
    probes
}

/// A probe with a semaphore, one with arguments of all kinds, and one that is inlined twice.
const SOURCE: &str = r#"
    #define NOTE(name, semaphore, arguments) __asm__ volatile( \
        "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
        ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n" \
        "993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte " semaphore "\n" \
        ".asciz \"program\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n994: .balign 4\n" \
        ".popsection\n.ifndef _.stapsdt.base\n" \
        ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
        ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n" \
        ".size _.stapsdt.base, 1\n.popsection\n.endif\n")
    unsigned short listened __attribute__((section(".probes"), used)) = 0;
    static inline __attribute__((always_inline)) void twice(void)
    {
        NOTE("twice", "0", "-4@%%edi 8@-8(%%rbp) 1@$5 4@table(,%%rax,4)");
    }
    int main(void)
    {
        NOTE("watched", "listened", "");
        twice();
        twice();
        return 0;
    }
"#;

fn program(shop: &Workshop) -> PathBuf {
    let (source, path) = (shop.path("probes.c"), shop.path("probes"));
    fs::write(&source, SOURCE.replace("%%", "%")).unwrap();
    run(Command::new("cc").arg("-no-pie").arg("-o").arg(&path).arg(&source));
    path
}

#[test]
fn notes_are_read_as_readelf_reads_them() {
    let shop = Workshop::new();
    let found = probes(&program(&shop));
    assert_eq!(found.all, oracle(&program(&shop)));
    assert_eq!(found.all.len(), 3);
    assert!(found.all[0].semaphore.is_some());
    assert_eq!(found.named("program", "twice").count(), 2);
    let machine = "/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so";
    if need(machine, Path::new(machine).exists()) {
        let found = probes(Path::new(machine));
        assert_eq!(found.all, oracle(Path::new(machine)));
        assert!(found.named("hotspot", "gc__begin").count() > 0);
    }
    // A file without any.
    assert_eq!(probes(Path::new("/proc/self/exe")), Probes::default());
}

#[test]
fn damaged_notes_are_counted_or_refused() {
    let shop = Workshop::new();
    let whole = fs::read(program(&shop)).unwrap();
    let at = whole.windows(8).position(|bytes| bytes == b"stapsdt\0").unwrap() - 12;
    let read = |bytes: &[u8]| Image::read(bytes).and_then(|image| Probes::read(&image));
    assert_eq!(read(&whole).unwrap().malformed, 0);
    let with = |change: usize, bytes: &[u8]| {
        let mut image = whole.clone();
        image[at + change..at + change + bytes.len()].copy_from_slice(bytes);
        read(&image).unwrap()
    };
    // Another kind of note, a place that is in no segment, a control character, no end of a string.
    for damaged in [with(8, &[4]), with(20, &[0xff; 8]), with(44, b"\x1b"), with(44, &[b'a'; 17])] {
        assert_eq!((damaged.all.len(), damaged.malformed), (2, 1));
    }
    // A length that leads out of the section: where the next one is, nobody knows.
    assert_eq!(with(4, &[0xff; 4]), Probes { malformed: 1, ..Default::default() });
    // Any byte may be anything.
    for at in at..at + 200 {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut image = whole.clone();
            image[at] = byte;
            let found = read(&image).unwrap();
            assert!(found.all.len() as u64 + found.malformed <= 4);
        }
    }
    for cut in (0..whole.len()).step_by(61) {
        let _ = read(&whole[..cut]);
    }
}

/// Notes are small, so a file may have a great many.
#[test]
fn there_is_a_limit_to_probes() {
    let shop = Workshop::new();
    let mut note = Vec::new();
    for word in [8u32, 32, 3] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"stapsdt\0");
    for word in [0x40_0000u64, 0, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"p\0n\0\0\0\0\0");
    let (notes, path) = (shop.path("notes"), program(&shop));
    fs::write(&notes, note.repeat(20_000)).unwrap();
    let update = format!(".note.stapsdt={}", notes.display());
    run(Command::new("objcopy").arg("--update-section").arg(update).arg(&path));
    let found = probes(&path);
    assert_eq!(found.all.len(), rprof::usdt::PROBES_MAX);
    assert_eq!(found.refused, 20_000 - rprof::usdt::PROBES_MAX as u64);
    fs::write(&notes, note.repeat(100_000)).unwrap();
    let update = format!(".note.stapsdt={}", notes.display());
    run(Command::new("objcopy").arg("--update-section").arg(update).arg(&path));
    let file = File::open(&path).unwrap();
    assert!(Probes::read(&Image::read(&file).unwrap()).is_err());
}

#[test]
fn a_running_process_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::in_folder(folder.path(), 0).unwrap();
    let mut command = Command::new("sleep");
    command.arg("60").envs(shim.environment());
    let process = Process::start(&mut command);
    let found = wait_until("the shim to be loaded", || {
        offers(process.id(), PROVIDER).ok().filter(|offers| !offers.is_empty())
    });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].image.path(), shim.path().to_str().unwrap());
    assert!(shim.is(found[0].image.key()));
    let names: Vec<&str> = found[0].probes.iter().map(|probe| &*probe.name).collect();
    assert_eq!(names, [ALLOC, FREE]);
    assert!(offers(process.id(), "nobody").unwrap().is_empty());
    assert!(offers(0, PROVIDER).is_err());
}
