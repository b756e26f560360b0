//! A server of HTTP/1.1 that does as it is told, well or badly.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with a status, headers of its own and a body.
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Promises a body and closes in the middle of it.
    CloseInBody,
    /// Says nothing until the client is gone.
    Silence,
}

impl Reply {
    pub fn ok() -> Self {
        Self::Status(200, Vec::new(), Vec::new())
    }

    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), b"as told".to_vec())
    }
}

type Answer = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// A server that runs until the test ends.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers with what `answer` gives for the number of a request, from 0, and the request.
    pub fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::run("127.0.0.1:0", None, Arc::new(answer))
    }

    /// The same at an address, once it is free.
    pub fn at(
        port: u16,
        answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run(&format!("127.0.0.1:{port}"), None, Arc::new(answer))
    }

    /// The same with TLS.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::run("127.0.0.1:0", Some(config), Arc::new(|_, _: &Request| Reply::ok()))
    }

    fn run(at: &str, tls: Option<Arc<rustls::ServerConfig>>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let kept = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (kept, answer, tls) = (kept.clone(), answer.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(stream, &kept, &*answer),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &kept, &*answer);
                    }
                });
            }
        });
        Self { port, requests }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Its address, behind a scheme.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Serves a connection to its end, whatever that is.
fn serve<S: Read + Write>(stream: S, kept: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let number = {
            let mut kept = kept.lock().unwrap();
            kept.push(request.clone());
            kept.len() - 1
        };
        match answer(number, &request) {
            Reply::Status(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                let bytes = [head.as_bytes(), b"\r\n", &body].concat();
                if stream.get_mut().write_all(&bytes).is_err() || stream.get_mut().flush().is_err()
                {
                    return;
                }
            }
            Reply::CloseInBody => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome";
                let _ = stream.get_mut().write_all(head);
                return;
            }
            Reply::Silence => {
                let _ = stream.read(&mut [0]);
                return;
            }
        }
    }
}

fn read<S: Read>(stream: &mut BufReader<S>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Whether a connection can be made to a port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
