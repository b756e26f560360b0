//! The agent's viewer: `rprof web` on its store, in a process of its own that has no privilege, so
//! that no request ever reaches the one that holds BPF.

use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};

/// The users that it runs as where none is named: the first that there is.
const USERS: [&str; 2] = ["rprof", "nobody"];
/// The token for other machines, in the store: where `rprof web --child` looks for it.
const TOKEN: &str = "web.token";
/// The wait before it is started again, at first and at most.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// One that lived this long is started again at once.
const PROVEN: Duration = Duration::from_secs(60);
/// How long it may take to end when told to.
const END: Duration = Duration::from_millis(200);

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

/// Keeps a viewer running.
pub struct Viewer {
    store: PathBuf,
    settings: Settings,
    state: State,
    back_off: Duration,
}

enum State {
    Running(Child, Instant),
    /// Until this moment.
    Resting(Instant),
}

impl Viewer {
    /// A viewer of the folder `store`, to be started by [`Viewer::tend`].
    pub fn new(store: &Path, settings: Settings) -> Self {
        let state = State::Resting(Instant::now());
        Self { store: store.to_owned(), settings, state, back_off: BACK_OFF }
    }

    /// Starts it where it does not run, and takes note of its end. That never fails: an agent
    /// without a page is better than none.
    pub fn tend(&mut self) {
        if let State::Running(child, since) = &mut self.state {
            let ended = match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => words(status),
                Err(error) => error.to_string(),
            };
            let lived = since.elapsed();
            if lived >= PROVEN {
                self.back_off = BACK_OFF;
            }
            self.rest(&format!("it ended after {:.1} s with {ended}", lived.as_secs_f64()));
        }
        if !self.rests().is_zero() {
            return;
        }
        match self.start() {
            Ok(child) => {
                tracing::info!(
                    "viewer at http://{} (process {}, user {})",
                    self.settings.listen,
                    child.id(),
                    self.settings.user.name
                );
                self.state = State::Running(child, Instant::now());
            }
            Err(error) => self.rest(&format!("it cannot be started: {error:#}")),
        }
    }

    /// How long until [`Viewer::tend`] has to be called, unless the viewer ends before.
    pub fn rests(&self) -> Duration {
        match &self.state {
            State::Running(..) => Duration::MAX,
            State::Resting(until) => until.saturating_duration_since(Instant::now()),
        }
    }

    /// Tells it to end.
    pub fn stop(&self) {
        if let State::Running(child, _) = &self.state {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM); // it may have ended
        }
    }

    fn rest(&mut self, why: &str) {
        tracing::warn!("no viewer: {why}; next try in {} s", self.back_off.as_secs());
        self.state = State::Resting(Instant::now() + self.back_off);
        self.back_off = (2 * self.back_off).min(BACK_OFF_MAX);
    }

    fn start(&self) -> Result<Child> {
        // By this link, a binary that was replaced meanwhile is not run.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("rprof")
            .args(["web", "--child", "--listen", &self.settings.listen, "--"])
            .arg(&self.store)
            .current_dir("/")
            .stdin(Stdio::null())
            .env_clear();
        // What tells our manager, and who we were started by, is not for it to know.
        command
            .envs(["TZ", "LANG"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if geteuid().is_root() {
            // With these, std also gives up all other groups.
            command.uid(self.settings.user.uid.as_raw()).gid(self.settings.user.gid.as_raw());
        } else if !self.settings.user.uid.eq(&geteuid()) {
            bail!(
                "only root can start it as {}; use --web-user or --listen none",
                self.settings.user.name
            );
        }
        command.spawn().context("cannot start a process")
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stop();
        let State::Running(child, _) = &mut self.state else { return };
        let start = Instant::now();
        while start.elapsed() < END && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill(); // it mostly has ended
        let _ = child.wait();
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => signal.to_string(),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
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
