//! What the shared object asks of the programs that load it: nothing but the loader's list of
//! objects and the environment, and those only if they are there.

use std::fs;

use object::{Object, ObjectSymbol, read::elf::ElfFile64};
use rprof::shim::Shim;

#[test]
fn it_needs_no_library_and_no_symbol() {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::in_folder(folder.path(), 0).unwrap();
    let bytes = fs::read(shim.path()).unwrap();
    let file = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let dynamic = file.elf_dynamic_table().unwrap();
    let needed = dynamic.iter().filter(|entry| entry.tag == object::elf::DT_NEEDED);
    assert_eq!(needed.count(), 0);
    let asked: Vec<_> = file.dynamic_symbols().filter(|symbol| symbol.is_undefined()).collect();
    assert!(asked.iter().all(|symbol| symbol.is_weak()));
    let mut names: Vec<_> = asked.iter().map(|symbol| symbol.name().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["_dl_debug_addr", "_r_debug", "environ"]);
}

/// A program may ask for a symbol to learn which allocator it has; the shim answers for none.
#[test]
fn it_offers_nothing_of_one_allocator_alone() {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::in_folder(folder.path(), 0).unwrap();
    let bytes = fs::read(shim.path()).unwrap();
    let file = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let mut names: Vec<_> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().unwrap())
        .filter(|name| !name.starts_with("_Zn") && !name.starts_with("_Zd"))
        .collect();
    names.sort_unstable();
    let standard = [
        "aligned_alloc",
        "calloc",
        "free",
        "free_aligned_sized",
        "free_sized",
        "malloc",
        "memalign",
        "mmap",
        "mmap64",
        "mremap",
        "munmap",
        "posix_memalign",
        "pvalloc",
        "realloc",
        "reallocarray",
        "valloc",
    ];
    assert_eq!(names, standard);
}
