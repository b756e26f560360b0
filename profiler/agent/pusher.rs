//! What pushes the agent's store to engines: `rprof push`, in a process of its own that has no
//! privilege, so that no answer of a server ever reaches the one that holds BPF.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::unistd::User;

use super::child::Child;
use crate::push::{Address, VARIABLES, progress_folder};

/// What is pushed where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub to: Vec<Address>,
    /// File of credentials.
    pub auth: Option<PathBuf>,
    /// File of certificates.
    pub ca: Option<PathBuf>,
    /// Times, by the option that sets them.
    pub times: Vec<(&'static str, Duration)>,
    /// The user that it runs as.
    pub user: User,
}

impl Settings {
    /// Makes the folder in the store where it is kept what was sent, for the user to write to.
    ///
    /// # Errors
    /// It cannot be made; or the user cannot read the credentials.
    pub fn make_folder(&self, store: &Path) -> Result<()> {
        let folder = progress_folder(store);
        let cannot = || format!("cannot make {} for {}", folder.display(), self.user.name);
        match DirBuilder::new().mode(0o750).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(cannot);
            }
            _ => {}
        }
        let (user, group) = (self.user.uid.as_raw(), self.user.gid.as_raw());
        chown(&folder, Some(user), Some(group)).with_context(cannot)?;
        for file in self.auth.iter().chain(&self.ca) {
            let of =
                fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
            let needed = match (of.uid() == user, of.gid() == group) {
                (true, _) => 0o400,
                (_, true) => 0o040,
                _ => 0o004,
            };
            if of.mode() & needed == 0 && user != 0 {
                bail!(
                    "{} is not for the user {}, who pushes, to read; chgrp it, and chmod g+r",
                    file.display(),
                    self.user.name
                );
            }
        }
        Ok(())
    }
}

/// What pushes the folder `store`, to be kept running.
pub fn child(store: &Path, settings: Settings) -> Child {
    let mut arguments: Vec<OsString> = vec!["push".into(), "--child".into()];
    for address in &settings.to {
        arguments.extend(["--to".into(), address.whole().into()]);
    }
    for (name, file) in [("--push-auth", settings.auth), ("--push-ca", settings.ca)] {
        arguments.extend(file.into_iter().flat_map(|file| [name.into(), absolute(&file)]));
    }
    for (name, time) in settings.times {
        arguments.extend([name.into(), format!("{}us", time.as_micros()).into()]);
    }
    arguments.extend(["--".into(), absolute(store)]);
    let to: Vec<String> = settings.to.iter().map(Address::to_string).collect();
    let does = format!("pushing to {}", to.join(", "));
    Child::new("push", does, arguments, VARIABLES, settings.user)
}

/// Children work elsewhere.
fn absolute(path: &Path) -> OsString {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into()
}
