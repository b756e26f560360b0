//! What lets users record who are not root: capabilities of the program file, for all who may run
//! it, and a group of those.
//!
//! CAP_SYS_ADMIN is not among them: recording does without it, and with it a user is root in all
//! but name. Reading, exporting and viewing need no capability at all.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::unistd::Group;
use rustix::{
    fs::{StatVfsMountFlags, XattrFlags},
    io::Errno,
};

use super::machine::CAPABILITIES;

/// The one of rprof's capabilities that a group is not given.
const TOO_MUCH: &str = "CAP_SYS_ADMIN";
/// Where the kernel keeps capabilities of a file (capabilities(7)).
const ATTRIBUTE: &str = "security.capability";
/// Version 2 of its format, and the bit that makes them effective at once (linux/capability.h).
const MAGIC: u32 = 0x0200_0000 | 1;
/// What a group's program may be used for, by its owner, the group and others.
const MODE: u32 = 0o750;

/// A program file, and who is to record with it.
pub struct Grant {
    file: PathBuf,
    group: Option<Group>,
}

impl Grant {
    /// For this program file, and the group of that name, or else all who may run the file.
    ///
    /// # Errors
    /// There is no such group, or capabilities have no effect where the file is.
    pub fn new(file: &Path, group: Option<&str>) -> Result<Self> {
        let group = group.map(find).transpose()?;
        let place = rustix::fs::statvfs(file);
        let place = place.with_context(|| format!("cannot look at {}", file.display()))?;
        if place.f_flag.contains(StatVfsMountFlags::NOSUID) {
            bail!(
                "{} is on a file system that is mounted nosuid, where capabilities have no effect; \
                 install it elsewhere",
                file.display()
            );
        }
        Ok(Self { file: file.to_owned(), group })
    }

    /// Who may record then, in words.
    pub fn who(&self) -> String {
        let file = self.file.display();
        match &self.group {
            Some(group) => format!(
                "members of the group {} may record with {file}, and no other user may run it",
                group.name
            ),
            None => format!("whoever may run {file} may record with it"),
        }
    }

    /// The same as [`Self::apply`] does, for a shell.
    pub fn commands(&self) -> Vec<String> {
        let file = quoted(&self.file.to_string_lossy());
        let mut commands = Vec::new();
        if let Some(group) = &self.group {
            commands.push(format!("chgrp {} {file}", quoted(&group.name)));
            commands.push(format!("chmod {MODE:o} {file}"));
        }
        let names: Vec<String> = granted().map(|(name, _)| name.to_lowercase()).collect();
        commands.push(format!("setcap {}=ep {file}", names.join(",")));
        commands
    }

    /// Gives the file its group, its mode and its capabilities, in this order: a new group takes
    /// capabilities away.
    ///
    /// # Errors
    /// We may not, or the file system keeps no capabilities.
    pub fn apply(&self) -> Result<()> {
        let file = &self.file;
        let cannot = |what: &str| format!("cannot change the {what} of {}", file.display());
        if let Some(group) = &self.group {
            chown(file, None, Some(group.gid.as_raw()))
                .with_context(|| cannot("group") + "; this needs root")?;
            fs::set_permissions(file, fs::Permissions::from_mode(MODE))
                .with_context(|| cannot("mode"))?;
        }
        match rustix::fs::setxattr(file, ATTRIBUTE, &attribute(), XattrFlags::empty()) {
            Err(Errno::PERM) => bail!("{}; this needs root", cannot("capabilities")),
            Err(Errno::NOTSUP) => {
                bail!(
                    "{}: its file system keeps none; install it elsewhere",
                    cannot("capabilities")
                )
            }
            set => set.with_context(|| cannot("capabilities"))?,
        }
        let made = fs::metadata(file).with_context(|| format!("{} is gone", file.display()))?;
        if self.group.as_ref().is_some_and(|group| made.gid() != group.gid.as_raw()) {
            bail!("{} did not take the group", file.display());
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<Group> {
    let group = Group::from_name(name).with_context(|| format!("cannot look up the group {name}"));
    group?.with_context(|| format!("there is no group {name}; groupadd --system {name} makes it"))
}

/// Names and numbers.
fn granted() -> impl Iterator<Item = (&'static str, u32)> {
    CAPABILITIES.iter().map(|(name, number, _)| (*name, *number)).filter(|one| one.0 != TOO_MUCH)
}

/// The file attribute: permitted and inheritable ones, the lower 32 of both first.
fn attribute() -> Vec<u8> {
    let permitted = granted().fold(0u64, |mask, (_, number)| mask | 1 << number);
    let words = [MAGIC, permitted as u32, 0, (permitted >> 32) as u32, 0];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%,:".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("/usr/bin/rprof-0.1"), "/usr/bin/rprof-0.1");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_attribute_is_that_of_setcap() {
        // What `setcap cap_sys_ptrace,cap_perfmon,cap_bpf,cap_checkpoint_restore=ep` writes.
        let words = [0x0200_0001u32, 1 << 19, 0, 1 << 6 | 1 << 7 | 1 << 8, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(attribute(), bytes);
    }
}
