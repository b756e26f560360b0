//! The server: where it listens, and what each request passes through.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    http::{Method, StatusCode, header},
    middleware::{Compress, DefaultHeaders},
    web::{self, Data},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Backend, Token,
    api::{self, Api, NO_CACHE, turn_away},
    connection::{Sending, Watch, Watches, Work},
    guard::{ANSWER_HEADERS, Guard},
    live::Live,
    page,
};

/// Connections at once; more wait in the kernel.
const CONNECTIONS: usize = 1024;
/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 1024;
/// How long the first request of a connection may take to arrive.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// How long a connection is kept for a next request.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often a port that is free on one address and taken on the other is looked for again.
const TRIES: usize = 10;

/// Where a server listens, and whom it answers.
pub struct Settings {
    /// Where it listens. With port 0 the system chooses one, the same for all.
    pub listen: Vec<SocketAddr>,
    /// Names under which it may be asked for, besides those of loopback.
    pub hosts: Vec<String>,
    /// The token that every request needs; none if none does.
    pub token: Option<Token>,
}

/// A server that listens, and does not answer yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    guard: Guard,
}

struct Shared {
    guard: Guard,
    api: Api,
    live: Arc<Live>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// An address cannot be listened on, and which.
    pub fn bind(settings: Settings) -> Result<Self, (SocketAddr, io::Error)> {
        let listeners = listen_on_all(&settings.listen)?;
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        let addresses: Vec<SocketAddr> = addresses.collect();
        let mut hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        hosts.extend(settings.hosts.iter().map(|host| host.to_ascii_lowercase()));
        let any_address = !settings.listen.iter().all(|address| address.ip().is_loopback());
        Ok(Self {
            listeners,
            addresses,
            guard: Guard { hosts, any_address, token: settings.token },
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers requests from `backend`, until the program ends.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn run(self, backend: Arc<dyn Backend>) -> io::Result<()> {
        let live = Arc::new(Live::default());
        let api = Api::new(backend.clone());
        let shared = Data::new(Shared { guard: self.guard, api, live: live.clone() });
        let watches = Watches::default();
        let watching = watches.clone();
        let mut server = HttpServer::new(move || {
            let headers = ANSWER_HEADERS.into_iter();
            App::new()
                .app_data(shared.clone())
                .wrap(headers.fold(DefaultHeaders::new(), |headers, header| headers.add(header)))
                .wrap(Compress::default())
                .default_service(web::to(handle))
        })
        .on_connect(move |stream, extensions| watching.add(stream, extensions))
        .workers(1)
        .worker_max_blocking_threads(2 * api::AT_ONCE)
        .max_connections(CONNECTIONS)
        .client_request_timeout(FIRST_REQUEST)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(0);
        for listener in self.listeners {
            server = server.listen(listener)?;
        }
        actix_web::rt::System::new().block_on(async move {
            actix_web::rt::spawn(watches.sweep());
            actix_web::rt::spawn(Live::follow(Arc::downgrade(&live), backend));
            server.run().await
        })
    }
}

async fn handle(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let work = Work::begin(request.conn_data::<Arc<Watch>>().cloned());
    if let Err(turned) = shared.guard.check(&request) {
        if turned.0 == StatusCode::UNAUTHORIZED
            && let Some((cookie, words)) = shared.guard.exchange(&request)
        {
            let place = if words.is_empty() { "/".to_owned() } else { format!("/?{words}") };
            return HttpResponse::SeeOther()
                .cookie(cookie)
                .insert_header((header::LOCATION, place))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .finish();
        }
        return turn_away(turned, work);
    }
    match request.path() {
        "/api/live" if request.method() == Method::GET => shared.live.stream(work),
        "/metrics" => shared.api.answer(&request, "metrics", work).await,
        "/healthz" => shared.api.answer(&request, "healthz", work).await,
        path => match path.strip_prefix("/api/") {
            Some(name) => shared.api.answer(&request, name, work).await,
            None => file(&request, work),
        },
    }
}

fn file(request: &HttpRequest, work: Work) -> HttpResponse {
    let Some(file) = page::file(request.path()) else {
        return turn_away((StatusCode::NOT_FOUND, "there is no such page"), work);
    };
    let tag = format!("W/\"{}\"", file.tag);
    let known = request.headers().get(header::IF_NONE_MATCH);
    let same = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let (status, bytes) = match same {
        true => (StatusCode::NOT_MODIFIED, Default::default()),
        false => (StatusCode::OK, file.bytes.into_owned().into()),
    };
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, file.content))
        .insert_header((header::ETAG, tag))
        .insert_header(NO_CACHE)
        .body(Sending::new(bytes, work, None))
}

/// Listens on all addresses, with one port for all that ask for any.
fn listen_on_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut tries = TRIES;
    loop {
        match listen_once(addresses) {
            Err((address, error))
                if address.port() == 0 && error.kind() == ErrorKind::AddrInUse && tries > 0 =>
            {
                tries -= 1;
            }
            other => return other,
        }
    }
}

fn listen_once(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for &wanted in addresses {
        let mut address = wanted;
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr().map_err(|error| (wanted, error))?.port());
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has no ::1, and needs none.
            Err(error) if is_absent(&error) && !listeners.is_empty() => {}
            Err(error) => return Err((wanted, error)),
        }
    }
    Ok(listeners)
}

fn is_absent(error: &io::Error) -> bool {
    // EAFNOSUPPORT is an error kind without a name.
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
