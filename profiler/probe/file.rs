//! The file that a probe is in: a path; a program by its name, as a shell finds it; or a library by
//! its name. What the target has mapped comes first, so that it is the file of its container.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use symbolizer::{Image, Kind, Maps};

use crate::{nearest::nearest, target::Target};

/// Where loaders look for libraries by themselves; others are in the files of `/etc/ld.so.conf.d`.
const LIBRARIES: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// Folders of libraries that are looked at.
const FOLDERS_MAX: usize = 64;
/// Names among which the nearest is looked for.
const NAMES_MAX: usize = 100_000;

/// The file that is meant.
///
/// # Errors
/// There is none, or it is no ELF file of x86_64: says which names are near.
pub fn find(file: &str, target: &Target) -> Result<Image> {
    let path = Path::new(file);
    if let Some(image) = target.pids.iter().find_map(|&pid| mapped(pid, file)) {
        return Ok(image);
    }
    if file.contains('/') {
        return open(path).with_context(|| format!("cannot probe {file}{}", near_path(path)));
    }
    let folders: Vec<PathBuf> =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let program = folders.iter().map(|folder| folder.join(file)).find(|path| path.is_file());
    if let Some(program) = program {
        return open(&program).with_context(|| format!("cannot probe {}", program.display()));
    }
    let libraries = library_folders();
    if let Some(library) = libraries.iter().find_map(|folder| library(folder, file)) {
        return open(&library).with_context(|| format!("cannot probe {}", library.display()));
    }
    let names = folders.iter().chain(&libraries).flat_map(|folder| names(folder)).take(NAMES_MAX);
    bail!(
        "no program or library is called {file}{}; a path names any other file",
        nearest(file, names.map(|name| stem(&name).to_owned()))
    );
}

/// Opens a file that has code.
fn open(path: &Path) -> Result<Image> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        bail!("not a file");
    }
    Image::open_path(path).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The file that a process has mapped under that path or name.
fn mapped(pid: u32, file: &str) -> Option<Image> {
    let maps = Maps::read(pid, true).ok()?;
    let named = |path: &str| match file.contains('/') {
        true => path == file,
        false => {
            let name = path.rsplit('/').next().unwrap_or_default();
            name == file || is_library(name, file)
        }
    };
    let files = maps.mappings.iter().filter(|mapping| mapping.kind() == Kind::File);
    let mapping = files.into_iter().find(|mapping| named(&mapping.path));
    if let Some(mapping) = mapping {
        return Image::open(pid, mapping).ok();
    }
    // What it may map yet, in its own root.
    if has_our_root(pid) {
        return None;
    }
    let path = file.starts_with('/').then(|| format!("/proc/{pid}/root{file}"))?;
    open(Path::new(&path)).ok()
}

/// True if a process sees the files that we see.
fn has_our_root(pid: u32) -> bool {
    let root = |path: &str| fs::metadata(path).map(|root| (root.dev(), root.ino()));
    root("/").is_ok_and(|ours| root(&format!("/proc/{pid}/root")).is_ok_and(|its| its == ours))
}

/// `libc.so.6` and `libc-2.31.so` for `libc` and for `c`.
fn is_library(name: &str, word: &str) -> bool {
    let named = |name: &str| {
        name.strip_prefix(word).is_some_and(|rest| {
            rest.starts_with(".so") || (rest.starts_with('-') && rest.ends_with(".so"))
        })
    };
    named(name) || name.strip_prefix("lib").is_some_and(named)
}

/// The name that a library is asked for by.
fn stem(name: &str) -> &str {
    name.split(".so").next().unwrap_or(name)
}

/// The library of that name in a folder; the shortest name, which is the one in use.
fn library(folder: &Path, word: &str) -> Option<PathBuf> {
    let mut found: Vec<String> =
        names(folder).filter(|name| name == word || is_library(name, word)).collect();
    found.sort_by_key(|name| (name.len(), name.clone()));
    // `libc.so` may be a script for the linker.
    found.iter().map(|name| folder.join(name)).find(|path| open(path).is_ok())
}

fn library_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    let configured = fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    for entry in configured.take(FOLDERS_MAX) {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
        folders.extend(lines.map(PathBuf::from));
    }
    folders.truncate(FOLDERS_MAX);
    folders
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn near_path(path: &Path) -> String {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return String::new();
    };
    if path.exists() {
        return String::new();
    }
    nearest(&name.to_string_lossy(), names(folder).take(NAMES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_by_their_names() {
        assert!(is_library("libc.so.6", "libc") && is_library("libc.so.6", "c"));
        assert!(is_library("libc-2.31.so", "libc") && is_library("libssl.so.3", "ssl"));
        assert!(!is_library("libcrypt.so.1", "libc") && !is_library("libc.a", "libc"));
        assert_eq!(stem("libpython3.11.so.1.0"), "libpython3.11");
    }

    #[test]
    fn files_are_found_by_path_and_name() {
        let target = Target { pids: vec![std::process::id()], ..Target::default() };
        assert!(find("libc", &target).unwrap().path().contains("libc"));
        assert!(find("libc", &Target::default()).unwrap().path().contains("libc"));
        assert!(find("ls", &Target::default()).unwrap().path().ends_with("/ls"));
        let error = format!("{:#}", find("/bin/lss", &Target::default()).unwrap_err());
        assert!(error.contains("; the nearest is "), "{error}");
        let error = format!("{:#}", find("libcc", &Target::default()).unwrap_err());
        assert!(error.contains("no program or library is called libcc; the nearest is"), "{error}");
        assert!(find("/etc/passwd", &Target::default()).is_err());
        assert!(find("/etc", &Target::default()).is_err());
    }
}
