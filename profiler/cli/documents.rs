//! `rprof completions` and `rprof man`: both made of the words that the program itself reads, so
//! that they cannot say anything else.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::args::Args;

/// Prints what a shell completes the command line by.
pub fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(&Args::command()), "rprof", &mut text);
    super::print(&text)
}

/// Writes a manual page for rprof and one for each command into a folder, which is made.
pub fn man(folder: &Path) -> Result<()> {
    let no = || format!("cannot write manual pages into {}", folder.display());
    fs::create_dir_all(folder).with_context(no)?;
    clap_mangen::generate_to(Args::command(), folder).with_context(no)
}

/// A command without what only rprof says to itself: the generators of completions do not leave
/// hidden words out. What words have to do with each other is lost, of which they make no use.
fn visible(command: &Command) -> Command {
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set()).map(visible);
    let words = command.get_arguments().filter(|one| !one.is_hide_set()).cloned();
    let about = command.get_about().cloned().unwrap_or_default();
    let made = Command::new(command.get_name().to_owned()).about(about);
    // The program's own version; commands have none.
    let made = match command.get_version() {
        Some(version) => made.version(version.to_owned()),
        None => made,
    };
    made.args(words).subcommands(commands)
}
