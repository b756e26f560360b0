//! The API: each question goes to the backend, on a thread that may block, and each answer comes
//! back with a tag by which the client can ask whether it still holds.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use super::{
    Answer, Backend, Reason, Refusal, Request,
    connection::{Sending, Work},
    guard::{self, Turned},
};

/// How long a question may take, waiting included.
const TIME: Duration = Duration::from_secs(20);
/// What is given to the backend beyond that, to notice it by itself.
const GRACE: Duration = Duration::from_secs(2);
/// Questions that are worked on at once.
pub const AT_ONCE: usize = 4;
/// Questions that may wait for their turn.
const WAITING: usize = 64;
/// What all answers on their way may come to, KiB.
const ROOM: u32 = 256 << 10;

/// Whom to ask, and how much at once.
pub struct Api {
    backend: Arc<dyn Backend>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    room: Arc<Semaphore>,
    /// Tags of another run of the program are of no use: it may answer in another way.
    run: u64,
}

/// What a question came to.
enum Outcome {
    Same(String),
    Answer(String, Answer),
}

impl Api {
    /// Asks `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        Self {
            backend,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            run: now.map_or(0, |now| now.as_nanos() as u64),
        }
    }

    /// The answer to a request for `name`.
    pub async fn answer(&self, request: &HttpRequest, name: &str, work: Work) -> HttpResponse {
        let words = match guard::words(request.query_string()) {
            Ok(words) => words,
            Err(turned) => return turn_away(turned, work),
        };
        let question = Request { name: name.to_owned(), words, until: Instant::now() + TIME };
        let known = request.headers().get(header::IF_NONE_MATCH);
        let known = known.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        match self.ask(question, known).await {
            Ok(Outcome::Same(tag)) => {
                let mut response = HttpResponse::NotModified();
                response.insert_header((header::ETAG, tag)).insert_header(NO_CACHE);
                response.body(Sending::new(Bytes::new(), work, None))
            }
            Ok(Outcome::Answer(tag, answer)) => self.send(tag, answer, work),
            Err(refusal) => refuse(&refusal, work),
        }
    }

    async fn ask(&self, question: Request, known: String) -> Result<Outcome, Refusal> {
        let (backend, run, until) = (self.backend.clone(), self.run, question.until.into());
        let turn = self.turn(until).await?;
        let job = actix_web::web::block(move || {
            // Held for as long as the thread is taken, whether or not somebody still waits.
            let _turn = turn;
            let tag = tag(&backend.state(&question)?, run, &question);
            if known.split(',').any(|known| known.trim() == tag) {
                return Ok(Outcome::Same(tag));
            }
            backend.answer(&question).map(|answer| Outcome::Answer(tag, answer))
        });
        match timeout_at(until + GRACE, job).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Refusal::new(Reason::Broken, "this answer failed; that is a bug")),
            Err(_) => Err(too_long()),
        }
    }

    async fn turn(&self, until: tokio::time::Instant) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = || Refusal::new(Reason::Busy, "too many questions at once; try again");
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let turn = timeout_at(until, self.turns.clone().acquire_owned()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }

    fn send(&self, tag: String, answer: Answer, work: Work) -> HttpResponse {
        let size = (answer.bytes.len() >> 10) as u32 + 1;
        let Ok(room) = self.room.clone().try_acquire_many_owned(size.min(ROOM)) else {
            let words = "too many large answers are on their way; try again";
            return refuse(&Refusal::new(Reason::Busy, words), work);
        };
        let mut response = HttpResponse::Ok();
        response.insert_header((header::CONTENT_TYPE, answer.content));
        response.insert_header((header::ETAG, tag)).insert_header(NO_CACHE);
        if let Some(name) = answer.file {
            let name: String =
                name.chars().map(|c| if plain(c) { c } else { '_' }).take(100).collect();
            let disposition = format!("attachment; filename=\"{name}\"");
            response.insert_header((header::CONTENT_DISPOSITION, disposition));
        }
        if answer.content == BINARY {
            // It is compressed already.
            response.insert_header((header::CONTENT_ENCODING, "identity"));
        }
        response.body(Sending::new(answer.bytes.into(), work, Some(room)))
    }
}

/// The content type of what only programs read.
const BINARY: &str = "application/octet-stream";

/// A client asks each time whether what it has still holds.
pub const NO_CACHE: (&str, &str) = ("cache-control", "private, no-cache");

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn too_long() -> Refusal {
    Refusal::new(Reason::Busy, "this takes too long; ask for less time, or filter less")
}

/// Weak, since the same answer may be compressed in several ways.
fn tag(state: &str, run: u64, question: &Request) -> String {
    let mut hasher = DefaultHasher::new();
    (state, run, &question.name, &question.words).hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Refuses in the way of the API.
fn refuse(refusal: &Refusal, work: Work) -> HttpResponse {
    let status = match refusal.reason {
        Reason::Invalid => StatusCode::BAD_REQUEST,
        Reason::Missing => StatusCode::NOT_FOUND,
        Reason::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &refusal.words, work)
}

/// Answers who is not let in.
pub fn turn_away((status, words): Turned, work: Work) -> HttpResponse {
    error(status, words, work)
}

fn error(status: StatusCode, words: &str, work: Work) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => response.insert_header((header::ALLOW, "GET, HEAD")),
        StatusCode::SERVICE_UNAVAILABLE => response.insert_header((header::RETRY_AFTER, "1")),
        StatusCode::UNAUTHORIZED => response.insert_header((header::WWW_AUTHENTICATE, "Bearer")),
        _ => &mut response,
    };
    if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
        // A body that may follow is not read.
        response.force_close();
    }
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response.content_type("application/json");
    let body = serde_json::json!({ "error": words }).to_string();
    response.body(Sending::new(body.into(), work, None))
}
