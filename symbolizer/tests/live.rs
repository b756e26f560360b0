//! Processes that run: deleted programs, perf maps, the vdso, the kernel.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use common::{Built, C, symbols};
use symbolizer::{Image, Kind, Maps, PerfMap, kernel, vdso};

/// Starts the C program, which waits for a line once it has said "ready".
fn start(built: &Built) -> Child {
    let mut child = Command::new(&built.program)
        .arg("wait")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn stop(mut child: Child) {
    let _ = child.stdin.take().unwrap().write_all(b"\n");
    child.wait().unwrap();
}

/// The name of the function of `image` that is at `address` of the process.
fn name_at(maps: &Maps, image: &Image, address: u64) -> Option<String> {
    let mapping = maps.find(address)?;
    let address = image.address(mapping.file_offset(address)?)?;
    Some(image.symbolize(&[address]).remove(0).last()?.name.clone())
}

#[test]
fn a_deleted_and_replaced_program() {
    let built = Built::new("cc", "program.c", C, &["-g", "-O2"]);
    let outer = symbols(&built.program)["outer"];
    let child = start(&built);
    let name = built.program.to_str().unwrap();
    let find = |maps: &Maps| maps.mappings.iter().find(|mapping| mapping.path == name).cloned();

    let maps = Maps::read(child.id(), true).unwrap();
    let mapping = find(&maps).unwrap();
    let image = Image::open(child.id(), &mapping).unwrap();
    let base = mapping.start - image.address(mapping.offset).unwrap();
    assert_eq!(name_at(&maps, &image, base + outer).as_deref(), Some("outer"));

    fs::remove_file(&built.program).unwrap();
    fs::write(&built.program, "another file").unwrap();
    let maps = Maps::read(child.id(), true).unwrap();
    let mapping = find(&maps).unwrap();
    assert!(mapping.deleted);
    let again = Image::open(child.id(), &mapping).unwrap();
    assert_eq!(again.key(), image.key());
    stop(child);
    // The process and the file are gone, the image is not.
    assert_eq!(name_at(&maps, &again, base + outer).as_deref(), Some("outer"));
    assert!(Image::open(std::process::id(), &mapping).is_err());
}

#[test]
fn a_perf_map_in_the_root_of_its_process() {
    let built = Built::new("cc", "program.c", C, &["-O2"]);
    let child = start(&built);
    assert!(PerfMap::open(child.id()).is_err());
    let path = format!("/tmp/perf-{}.map", child.id());
    fs::write(&path, "7f0000001000 20 jit one\nbroken\n").unwrap();
    let map = PerfMap::open(child.id()).unwrap();
    fs::remove_file(&path).unwrap();
    let names = map.symbolize(&[0x7f00_0000_1010, 0x7f00_0000_1020]).unwrap();
    assert_eq!(names, [Some("jit one".to_owned()), None]);
    assert_eq!(map.malformed(), 1);

    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    assert!(PerfMap::open(child.id()).is_err(), "a pipe would block");
    fs::remove_file(&path).unwrap();
    stop(child);
}

#[test]
fn the_vdso_of_this_process() {
    let maps = Maps::read(std::process::id(), true).unwrap();
    let mapping = maps.mappings.iter().find(|mapping| mapping.kind() == Kind::Vdso).unwrap();
    let offsets: Vec<u64> = (0..mapping.end - mapping.start).step_by(16).collect();
    let found = vdso::symbolize(&offsets);
    assert!(
        found.iter().flatten().any(|symbol| symbol.name.ends_with("clock_gettime")),
        "{found:?}"
    );
}

#[test]
fn the_kernel_of_this_machine() {
    let text = fs::read_to_string("/proc/kallsyms").unwrap();
    let line = text.lines().find(|line| line.ends_with(" T schedule")).unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    match kernel::symbolize(&[address + 4]) {
        Ok(found) => assert_eq!(found[0].as_ref().unwrap().name, "schedule"),
        Err(error) => assert!(address == 0 && error.to_string().contains("kptr_restrict")),
    }
}

#[test]
fn this_test_itself() {
    let here = this_test_itself as *const () as usize as u64;
    let maps = Maps::read(std::process::id(), true).unwrap();
    let image = Image::open(std::process::id(), maps.find(here).unwrap()).unwrap();
    assert_eq!(name_at(&maps, &image, here).as_deref(), Some("live::this_test_itself"));
}
