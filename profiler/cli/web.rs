//! `rprof web`: the viewer, served to a browser by a process without privilege.

use std::{
    env, fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use web::{Server, Settings, Token};

use super::{args::WebArgs, confine::confine};
use crate::{machine, output::clean, store::partial_path, viewer::Viewer};

/// Where the agent keeps its recordings, unless it was told otherwise.
const STORE: &str = "/var/lib/rprof";
/// What `rprof record` makes.
const RECORDING: &str = "rprof.data";
/// Where the viewer listens.
const PORT: u16 = 7171;
/// The file of the token, in the folder of the user's state or in the agent's store.
const TOKEN: &str = "web.token";
/// Files that may be open at once: each connection takes two.
const FILES: u64 = 4096;

/// Serves the viewer until a signal ends it.
pub fn web(args: &WebArgs) -> Result<ExitCode> {
    // First of all: an agent that is gone must not leave a server behind.
    if args.child {
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the agent")?;
        // The agent runs ahead of all others; a page need not.
        let _ = rustix::process::setpriority_process(None, 0);
    }
    // What comes from here on ends us in order.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
    let path = path(args);
    check(&path)?;
    args.base.as_deref().map_or(Ok(()), check)?;
    let listen = addresses(&args.listen)?;
    let open = !listen.iter().all(|address| address.ip().is_loopback());
    let token = if open { Some(token(args, &path)?) } else { None };
    let mut hosts = args.hosts.clone();
    if open {
        hosts.push(machine::uname().0);
    }
    let secret = token.as_ref().map(|token| token.secret().to_owned());
    let server = Server::bind(Settings { listen, hosts, token })
        .map_err(|(address, error)| cannot_listen(address, error))?;
    tell(&path, &server, secret.as_deref(), args.child);

    let _ =
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, FILES, FILES); // without it, fewer connections are served at once
    let folders = [Some(&path), args.base.as_ref()];
    confine(&folders.into_iter().flatten().map(|path| folder(path)).collect::<Vec<_>>())?;
    let viewer = Arc::new(Viewer::new(&path, args.base.as_deref()));
    let early = viewer.clone();
    thread::spawn(move || early.warm_up());
    let (send, ended) = mpsc::channel();
    let told = send.clone();
    thread::spawn(move || {
        signals.forever().next();
        let _ = told.send(Ok(())); // nobody listens only when the program has ended
    });
    thread::spawn(move || {
        let _ = send.send(server.run(viewer)); // as above
    });
    ended.recv().context("the server is gone")?.context("the server failed")?;
    Ok(ExitCode::SUCCESS)
}

/// What to show.
fn path(args: &WebArgs) -> PathBuf {
    if let Some(path) = &args.file {
        return path.clone();
    }
    let recording = Path::new(RECORDING);
    let is_there = recording.exists() || partial_path(recording).exists();
    if !is_there && Path::new(STORE).exists() { STORE.into() } else { RECORDING.into() }
}

/// Fails before anything is served if there is nothing to serve. What is damaged is served as far
/// as it can be read.
fn check(path: &Path) -> Result<()> {
    let found = fs::metadata(path).or_else(|_| fs::metadata(partial_path(path)));
    match found {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no {}; make a recording: rprof record, or name one: rprof web FILE",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The folder that has to be readable for `path` to be: itself, or the one that it is in, where
/// another recording may take its place.
fn folder(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match path.parent() {
        Some(parent) if !path.is_dir() => match parent.as_os_str().is_empty() {
            true => ".".into(),
            false => parent.to_owned(),
        },
        _ => path,
    }
}

/// Where to listen: `ADDRESS:PORT`, or either alone.
pub fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let (host, port) = match text.rsplit_once(':') {
        _ if text.parse::<u16>().is_ok() => ("localhost", Some(text)),
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = port.map(|port| port.parse().with_context(|| format!("{port:?} is no port")));
    let port = port.transpose()?.unwrap_or(PORT);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" {
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        return Ok(addresses.map(|address| SocketAddr::new(address, port)).to_vec());
    }
    let no_address = || format!("{host:?} is no address of this machine; try localhost:{PORT}");
    let found = (host, port).to_socket_addrs().with_context(no_address)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        bail!(no_address());
    }
    Ok(addresses)
}

/// The token for who is not on this machine.
fn token(args: &WebArgs, path: &Path) -> Result<Token> {
    if let Some(file) = &args.token_file {
        return Token::open(file);
    }
    if args.child {
        return Token::open(&folder(path).join(TOKEN));
    }
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    match state.filter(|state| state.is_absolute()).or_else(home) {
        Some(state) => Token::open(&state.join("rprof").join(TOKEN)),
        None => bail!("there is no HOME to keep the token in; say where: --token-file FILE"),
    }
}

/// Says where the viewer is, and who may open it.
fn tell(path: &Path, server: &Server, secret: Option<&str>, child: bool) {
    let Some(first) = server.addresses().first() else { return };
    let port = first.port();
    let Some(secret) = secret else {
        say!("rprof: {} is at http://localhost:{port}", path.display());
        return;
    };
    let listens: Vec<String> = server.addresses().iter().map(SocketAddr::to_string).collect();
    say!(
        "rprof: other machines can reach this: it listens on {}, without encryption",
        listens.join(", ")
    );
    let host = match first.ip() {
        ip if ip.is_unspecified() => machine::uname().0,
        _ => first.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    // Logs are read by more people than the token is for.
    let word = if child { "TOKEN" } else { secret };
    say!("rprof: {} is at http://{host}:{port}/?token={word}", path.display());
}

/// Says who has the port, and what to do.
fn cannot_listen(address: SocketAddr, error: io::Error) -> anyhow::Error {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = match holder(port) {
                Some((pid, name)) => format!("{} (process {pid})", clean(&name)),
                None => "another program".into(),
            };
            let other = port.checked_add(1).unwrap_or(PORT);
            anyhow!(
                "{holder} listens on port {port} already; take another: --listen localhost:{other}"
            )
        }
        ErrorKind::PermissionDenied => anyhow!(
            "port {port} is for root alone; take one from 1024 on: --listen localhost:{PORT}"
        ),
        ErrorKind::AddrNotAvailable => {
            anyhow!("{} is no address of this machine; try --listen localhost:{PORT}", address.ip())
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    }
}

/// The process that listens on a port, as far as we may see it.
fn holder(port: u16) -> Option<(u32, String)> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().find_map(|line| {
            // Local address and port in hexadecimal, remote ones, state (0A: listens), …, inode:
            // proc_pid_net(5).
            let words: Vec<&str> = line.split_whitespace().collect();
            let local = words.get(1)?.rsplit_once(':')?.1;
            let listens = u16::from_str_radix(local, 16) == Ok(port) && *words.get(3)? == "0A";
            if listens { Some(format!("socket:[{}]", words.get(9)?)) } else { None }
        })
    })?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.into_iter().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let has = |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| *to == *socket);
        files.any(has).then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen() {
        let listen = |text: &str| {
            addresses(text).unwrap().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listen("localhost"), "127.0.0.1:7171 [::1]:7171");
        assert_eq!(listen("8080"), "127.0.0.1:8080 [::1]:8080");
        assert_eq!(listen("localhost:0"), "127.0.0.1:0 [::1]:0");
        assert_eq!(listen("0.0.0.0"), "0.0.0.0:7171");
        assert_eq!(listen("127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(listen("[::1]:80"), "[::1]:80");
        assert_eq!(listen("::"), "[::]:7171");
        for wrong in ["localhost:x", "localhost:70000", ":", "no such host:1"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }
}
