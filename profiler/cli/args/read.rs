//! The commands that read a recording: `flamegraph`, `report`, `diff` and `export`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args as Group;

use super::{DEFAULT_FILE, ViewArgs, parse::parse_share};
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
    /// As Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Also a flame graph of NEW, coloured by what changed
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Exit with status 3 if a function got more by over this share of the whole, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = parse_share, help_heading = "To judge")]
    pub fail_above: Option<f64>,
    /// How sure that has to be, 50% to 99.9999%
    #[arg(long, value_name = "SHARE", value_parser = parse_confidence, default_value = "99%")]
    #[arg(requires = "fail_above", help_heading = "To judge")]
    pub confidence: f64,
    /// BASE and NEW did the same work, such as two runs of one benchmark: judge amounts, and the
    /// whole, in place of shares
    #[arg(long, requires = "fail_above", help_heading = "To judge")]
    pub same_work: bool,
}

/// How sure something is.
fn parse_confidence(text: &str) -> Result<f64> {
    let confidence = parse_share(text)?;
    if !(0.5..=0.999_999).contains(&confidence) {
        bail!("a confidence is 50% to 99.9999%");
    }
    Ok(confidence)
}

#[derive(Group)]
pub struct ExportArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Format: pprof, folded, speedscope, firefox or json; for compilers goprofile, llvm-sample
    #[arg(short, long)]
    pub format: String,
    #[command(flatten)]
    pub view: ViewArgs,
}
