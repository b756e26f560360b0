//! `rprof --version`: what this program was made of.

use crate::{bpf, sources::SOURCES, store};

/// The commit and its date as `scripts/dist` gives them; a tree that is built by hand, or without
/// its history, has none. Nothing here tells when or where it was built, so that the same tree
/// gives the same program.
const COMMIT: Option<&str> = option_env!("RPROF_COMMIT");

/// All facts, a line each, the version first.
pub fn long() -> String {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let link = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    let libc = if cfg!(target_env = "musl") { "musl" } else { "glibc" };
    let (major, minor) = bpf::libbpf_version();
    format!(
        "{}\ncommit: {}\nbuild: {}-linux, {link} {libc}, {build}\nlibbpf: {major}.{minor}\n\
         recordings: format {}\nsources: {}",
        env!("CARGO_PKG_VERSION"),
        COMMIT.filter(|commit| !commit.is_empty()).unwrap_or("not recorded"),
        std::env::consts::ARCH,
        store::FORMAT_VERSION,
        SOURCES.iter().map(|source| source.name()).collect::<Vec<_>>().join(" "),
    )
}
