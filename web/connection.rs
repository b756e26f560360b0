//! Connections, and the end of those that take too long.
//!
//! actix-web limits the time for the first request's headers, and nothing else: not the time until
//! a next request is complete, nor that for taking an answer. So each connection has a [`Watch`],
//! and one task ends those that stand still for too long. Otherwise a few clients could hold all
//! connections, or all the memory that answers may take, for ever.

use std::{
    any::Any,
    net::Shutdown,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    body::{BodySize, MessageBody},
    dev::Extensions,
    rt::net::TcpStream,
};
use bytes::Bytes;
use socket2::{SockRef, Socket};
use tokio::sync::OwnedSemaphorePermit;

/// How long a connection may be without a request being worked on.
const IDLE: Duration = Duration::from_secs(15);
/// How long a client may take to receive an answer.
const SENDING: Duration = Duration::from_secs(120);
/// How often all are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Bytes of an answer that are handed to the connection at a time.
const PIECE: usize = 64 << 10;

/// One connection.
pub struct Watch {
    socket: Socket,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// No request is being worked on, since then.
    Idle(Instant),
    /// An answer is being made or sent, since then.
    Answering(Instant),
    /// Events are sent for as long as the client likes.
    Live,
}

impl Watch {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn is_late(&self, now: Instant) -> bool {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Idle(since) => now.saturating_duration_since(since) > IDLE,
            State::Answering(since) => now.saturating_duration_since(since) > SENDING,
            State::Live => false,
        }
    }
}

/// All connections that there are.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<Vec<Weak<Watch>>>>);

impl Watches {
    /// Watches a new connection. A socket that cannot be watched is closed at once.
    pub fn add(&self, stream: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
        let socket = SockRef::from(stream);
        let Ok(socket) = socket.try_clone() else {
            let _ = socket.shutdown(Shutdown::Both); // it may be closed already
            return;
        };
        let watch = Arc::new(Watch { socket, state: Mutex::new(State::Idle(Instant::now())) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watch));
        extensions.insert(watch);
    }

    /// Ends what is late, for ever.
    pub async fn sweep(self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            watches.retain(|watch| {
                let Some(watch) = watch.upgrade() else { return false };
                if watch.is_late(now) {
                    let _ = watch.socket.shutdown(Shutdown::Both); // it may be closed already
                }
                true
            });
        }
    }
}

/// A request that is being worked on. Once it is dropped, the connection is idle.
pub struct Work(Option<Arc<Watch>>);

impl Work {
    /// The connection starts to work on a request.
    pub fn begin(watch: Option<Arc<Watch>>) -> Self {
        if let Some(watch) = &watch {
            watch.set(State::Answering(Instant::now()));
        }
        Self(watch)
    }

    /// The answer goes on for as long as the client likes.
    pub fn go_on(&self) {
        if let Some(watch) = &self.0 {
            watch.set(State::Live);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.set(State::Idle(Instant::now()));
        }
    }
}

/// An answer on its way, with its share of the memory that answers may take.
pub struct Sending {
    bytes: Bytes,
    _work: Work,
    _room: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// Sends `bytes`.
    pub fn new(bytes: Bytes, work: Work, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { bytes, _work: work, _room: room }
    }
}

impl MessageBody for Sending {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let size = self.bytes.len().min(PIECE);
        Poll::Ready((size > 0).then(|| Ok(self.bytes.split_to(size))))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_stands_still_is_late() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let now = Instant::now();
        let watch = Watch { socket: client.into(), state: Mutex::new(State::Idle(now)) };
        let watch = Arc::new(watch);
        let late = |after: Duration| watch.is_late(Instant::now() + after);
        assert!(!late(Duration::ZERO) && late(IDLE * 2));
        let work = Work::begin(Some(watch.clone()));
        assert!(!late(IDLE * 2) && late(SENDING * 2));
        work.go_on();
        assert!(!late(SENDING * 2));
        drop(Sending::new(Bytes::from_static(b"answer"), work, None));
        assert!(!late(Duration::ZERO) && late(IDLE * 2));
    }
}
