//! The agent's viewer: `rprof web` on its store, in a process of its own that has no privilege, so
//! that no request ever reaches the one that holds BPF.

use std::{ffi::OsString, os::unix::fs::chown, path::Path};

use anyhow::{Context, Result, bail};
use nix::unistd::User;

use super::child::Child;

/// The users that it runs as where none is named: the first that there is.
const USERS: [&str; 2] = ["rprof", "nobody"];
/// The token for other machines, in the store: where `rprof web --child` looks for it.
const TOKEN: &str = "web.token";
/// The user that the viewer is to run as: the one named, or the first of those that there are.
///
/// # Errors
/// There is no such user, or none of them.
pub fn user(name: Option<&str>) -> Result<User> {
    let find = |name: &str| {
        User::from_name(name).with_context(|| format!("cannot look up the user {name}"))
    };
    match name {
        Some(name) => find(name)?.with_context(|| format!("there is no user {name}")),
        None => {
            for name in USERS {
                if let Some(user) = find(name)? {
                    return Ok(user);
                }
            }
            bail!(
                "there is no user {} for the viewer; name one with --web-user",
                USERS.join(" or ")
            )
        }
    }
}

/// What a viewer is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: String,
    /// True if other machines can reach it there: then it wants a token of them.
    pub open: bool,
    /// The user that it runs as.
    pub user: User,
}

impl Settings {
    /// Makes the token in the folder `store`, where one is needed and there is none: the viewer
    /// itself may not write there, and nobody but it may read the token.
    ///
    /// # Errors
    /// It cannot be made, or others can read the one that is there.
    pub fn make_token(&self, store: &Path) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        let path = store.join(TOKEN);
        web::Token::open(&path)?;
        let (user, group) = (self.user.uid.as_raw(), self.user.gid.as_raw());
        chown(&path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to {}", path.display(), self.user.name))
    }
}

/// A viewer of the folder `store`, to be kept running.
pub fn child(store: &Path, settings: Settings) -> Child {
    let words = ["web", "--child", "--listen", &settings.listen, "--"].map(OsString::from);
    let arguments = words.into_iter().chain([store.into()]).collect();
    let does = format!("viewer at http://{}", settings.listen);
    Child::new("viewer", does, arguments, &[], settings.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(user(Some("root")).unwrap().uid.as_raw(), 0);
        let error = user(Some("no such user")).unwrap_err();
        assert!(format!("{error:#}").contains("no such user"));
        assert!(USERS.contains(&&*user(None).unwrap().name));
    }
}
