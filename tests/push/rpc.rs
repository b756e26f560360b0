//! A server of gRPC that does as it is told, on HTTP/2 itself.

use std::{
    io::Read,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use h2::server;
use prost::bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub message: Vec<u8>,
    pub gzipped: bool,
}

/// A message, or a status with a message and details.
pub type Answer = Result<Vec<u8>, (u32, &'static str, Vec<u8>)>;

/// A server that runs until the test ends.
pub struct RpcServer {
    pub port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl RpcServer {
    /// Answers with what `answer` gives for the number of a call, from 0.
    pub fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = calls.clone();
        let answer = Arc::new(answer);
        let (send, port) = mpsc::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap().port()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (kept, answer, tls) = (kept.clone(), answer.clone(), tls.clone());
                    tokio::task::spawn_local(async move {
                        match tls {
                            None => serve(stream, &kept, &*answer).await,
                            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => serve(stream, &kept, &*answer).await,
                                Err(_) => None,
                            },
                        }
                    });
                }
            });
        });
        Self { port: port.recv().unwrap(), calls }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.calls().into_iter().map(|call| call.message).collect()
    }
}

/// Serves a connection; none where it ends otherwise than in order.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    kept: &Mutex<Vec<Call>>,
    answer: &dyn Fn(usize) -> Answer,
) -> Option<()> {
    let mut connection = server::Builder::new()
        .initial_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .ok()?;
    let mut waiting = Vec::new();
    while let Some(request) = connection.accept().await {
        let (request, respond) = request.ok()?;
        waiting.push(tokio::task::spawn_local(receive(request)));
        // Frames are read only while the connection is asked for more.
        let call = loop {
            tokio::select! {
                call = waiting.last_mut()? => break call.ok()??,
                more = connection.accept() => { more?.ok()?; }
            }
        };
        waiting.pop();
        let number = {
            let mut kept = kept.lock().unwrap();
            kept.push(call);
            kept.len() - 1
        };
        reply(respond, answer(number))?;
    }
    Some(())
}

async fn receive(request: http::Request<h2::RecvStream>) -> Option<Call> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        body.flow_control().release_capacity(chunk.len()).ok()?;
        bytes.extend_from_slice(&chunk);
    }
    // A flag, a length, and the message.
    let gzipped = bytes[0] == 1;
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    assert_eq!(bytes.len(), 5 + length);
    let mut message = bytes[5..].to_vec();
    if gzipped {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*message).read_to_end(&mut text).unwrap();
        message = text;
    }
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    Some(Call { path: head.uri.path().to_owned(), headers, message, gzipped })
}

fn reply(mut respond: server::SendResponse<Bytes>, answer: Answer) -> Option<()> {
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut trailers = http::HeaderMap::new();
    let (status, text, details) = match &answer {
        Ok(_) => (0, "", Vec::new()),
        Err((status, text, details)) => (*status, *text, details.clone()),
    };
    trailers.insert("grpc-status", status.into());
    trailers.insert("grpc-message", text.parse().unwrap());
    if !details.is_empty() {
        use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
        let details = BASE64_STANDARD_NO_PAD.encode(details);
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
    }
    let mut stream = respond.send_response(head.body(()).unwrap(), false).ok()?;
    if let Ok(message) = answer {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(&message);
        stream.send_data(frame.freeze(), false).ok()?;
    }
    stream.send_trailers(trailers).ok()
}
