//! The command line: a file per command, over the one definition of all words in `args`.

/// Tells a person something. Who has closed standard error does not want to know.
macro_rules! say {
    ($($word:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($word)*);
    }};
}

mod agent;
mod args;
mod confine;
mod diff;
mod doctor;
mod documents;
mod latency;
mod limits;
mod list;
mod memory;
mod past;
mod progress;
mod push;
mod read;
mod record;
mod run;
mod signals;
mod trace;
mod version;
mod waits;
mod web;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;

use args::{Args, Command};

/// Runs the program on the arguments that it was started with.
pub fn run() -> ExitCode {
    crate::bpf::look_up_in_files();
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(match args.verbose {
            // A service says what it does: nobody is there to ask it.
            0 if is_service(&args.command) => tracing::Level::INFO,
            0 => tracing::Level::WARN,
            1 => tracing::Level::INFO,
            _ => tracing::Level::DEBUG,
        })
        .init();
    // What libbpf has to say is for who asks; what goes wrong comes back as an error.
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, |_, text| {
        tracing::debug!("{}", text.trim_end());
    })));
    match command(args.command, args.verbose > 0) {
        Ok(code) => code,
        // `rprof report | head` is no error.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("rprof: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_service(command: &Command) -> bool {
    match command {
        Command::Agent(_) => true,
        Command::Push(args) => args.child,
        _ => false,
    }
}

fn command(command: Command, verbose: bool) -> Result<ExitCode> {
    match command {
        Command::Agent(args) => agent::agent(&args),
        Command::Latency(args) => latency::latency(&args),
        Command::Record(args) => record::record(args),
        Command::Push(args) => push::push(&args),
        Command::Trace(args) => trace::trace(args),
        Command::Flamegraph(args) => read::flamegraph(&args).map(|()| ExitCode::SUCCESS),
        Command::Report(args) => read::report(&args).map(|()| ExitCode::SUCCESS),
        Command::Export(args) => read::export(&args).map(|()| ExitCode::SUCCESS),
        Command::Web(args) => web::web(&args),
        Command::List(args) => list::list(&args, verbose).map(|()| ExitCode::SUCCESS),
        Command::Diff(args) => diff::diff(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions { shell } => documents::completions(shell).map(|()| ExitCode::SUCCESS),
        Command::Man { folder } => documents::man(&folder).map(|()| ExitCode::SUCCESS),
        Command::StartWhenTold { set, command } => run::start_when_told(&set, &command),
    }
}

/// Writes to standard output.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write to standard output")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
