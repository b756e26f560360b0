//! `rprof list`.

use clap::Args as Group;

#[derive(Group)]
pub struct ListArgs {
    /// A part of a name, or a pattern with * and ?: '*unlink*', 'tracepoint:sched:*', 'perf:*',
    /// 'uprobe:FILE:*gc*', 'usdt:FILE:*', 'kprobe:*', 'fentry:*'. All but functions if not given
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Tell what each has: fields, arguments
    #[arg(short = 'l', long)]
    pub long: bool,
    /// As JSON: an object on a line for each
    #[arg(long)]
    pub json: bool,
    /// FILE is what these processes have mapped: a library by its name, a path in a container
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
}
