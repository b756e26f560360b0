//! The commands that read a recording: `flamegraph`, `report`, `diff` and `export`.

use std::path::PathBuf;

use clap::Args as Group;

use super::{DEFAULT_FILE, ViewArgs};
use crate::model::Moment;

#[derive(Group)]
pub struct FlamegraphArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Group)]
pub struct ReportArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    #[command(flatten)]
    pub view: ViewArgs,
    /// Functions to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
    pub limit: usize,
    /// All of it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Group)]
pub struct DiffArgs {
    /// Recording or store to compare with
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// Recording or store; if not given, BASE at another time
    #[arg(value_name = "NEW")]
    pub new: Option<PathBuf>,
    #[command(flatten)]
    pub view: ViewArgs,
    /// Start of the base, in the words of --from; the same as of NEW if not given
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub base_from: Option<Moment>,
    /// End of the base
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub base_to: Option<Moment>,
    /// Rows of each table
    #[arg(short = 'n', long, value_name = "N", default_value_t = 15)]
    pub limit: usize,
    /// Also what sampling noise explains
    #[arg(long)]
    pub all: bool,
    /// All of it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Group)]
pub struct ExportArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Format: pprof, folded, speedscope, firefox or json
    #[arg(short, long)]
    pub format: String,
    #[command(flatten)]
    pub view: ViewArgs,
}
