//! Gives up what a server of a recording does not need, so that a flaw in it is worth little: no
//! new privileges, no capabilities, and of the file system only what it reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// What is read besides recordings: the local time zone, and random bytes.
const READ: [&str; 3] = ["/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"];

/// Confines the calling thread and all that it starts later to reading what is below `folders`,
/// and to writing temporary files. False if the kernel has no landlock to hold it to that.
///
/// # Errors
/// The kernel refuses.
pub fn confine(folders: &[PathBuf]) -> Result<bool> {
    set_no_new_privs(true).context("cannot give up privileges")?;
    // Root may be shown the recordings of others, which it needs this for, and nothing else.
    let kept = match nix::unistd::geteuid().is_root() {
        true => CapabilitySet::DAC_READ_SEARCH,
        false => CapabilitySet::empty(),
    };
    let held = rustix::thread::capabilities(None).context("cannot ask for capabilities")?;
    let kept = kept & held.permitted;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot give up capabilities")?;
    restrict(folders).context("cannot give up access to files")
}

fn restrict(folders: &[PathBuf]) -> Result<bool> {
    let abi = ABI::V6;
    let mut read: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    read.extend(READ.map(Path::new));
    // A debug build serves the files of the page as they are in the source tree.
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web/static"));
    if cfg!(debug_assertions) {
        read.push(page);
    }
    let temporary = std::env::temp_dir();
    // What the kernel does not know of this is left out.
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules([temporary], AccessFs::from_all(abi)))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind, thread};

    use super::*;

    #[test]
    fn only_what_was_named_can_be_read_and_nothing_there_written() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let inside = folder.path().join("inside");
        fs::write(&inside, "text").unwrap();
        let folders = [folder.path().to_owned()];
        // It holds for the thread that asks for it, and the test goes on without.
        let confined = thread::spawn(move || {
            if !confine(&folders).unwrap() {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "there is no landlock");
                return eprintln!("SKIPPED: there is no landlock");
            }
            assert_eq!(fs::read_to_string(&inside).unwrap(), "text");
            let denied =
                |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            denied(fs::read("/etc/passwd").unwrap_err());
            denied(fs::read_dir("/").unwrap_err());
            denied(fs::write(&inside, "other").unwrap_err());
            denied(fs::remove_file(&inside).unwrap_err());
            denied(std::net::TcpStream::connect("127.0.0.1:1").unwrap_err());
            assert!(tempfile::tempfile().is_ok());
        });
        confined.join().unwrap();
        assert!(fs::read("/etc/passwd").is_ok());
    }
}
