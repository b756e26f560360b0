//! HTTP for the viewer: the page, the API, and the rules of who may ask for them.
//!
//! This crate knows nothing of profiles. It checks each request (`guard`), serves the files of
//! `static/` (`page`), and asks a [`Backend`] for everything else (`api`, `live`). It is the
//! only part of rprof that is asynchronous: the backend's calls block, and run on threads of their
//! own, a bounded number at a time and each for a bounded time.

mod api;
mod connection;
mod guard;
mod live;
mod page;
mod server;
mod token;

use std::time::Instant;

pub use server::{Server, Settings};
pub use token::Token;

/// What the API is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What, such as `table` for `/api/table`; `metrics` and `healthz` for the pages of that name.
    pub name: String,
    /// The words of the query, decoded, in the order in which they stand.
    pub words: Vec<(String, String)>,
    /// When the answer is of no use any more. Whoever works on it longer has to give up.
    pub until: Instant,
}

/// An answer of the API.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Content type.
    pub content: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The name under which a browser keeps it, where it is to be kept.
    pub file: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The question makes no sense: 400.
    Invalid,
    /// What was asked for is not there: 404.
    Missing,
    /// It would take too long, or too much is being asked at once: 503.
    Busy,
    /// It is there, but cannot be read: 500.
    Broken,
}

/// A question that is not answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub words: String,
}

impl Refusal {
    /// A refusal in these words.
    pub fn new(reason: Reason, words: impl Into<String>) -> Self {
        Self { reason, words: words.into() }
    }
}

/// Where the bytes come from. All calls may block.
pub trait Backend: Send + Sync + 'static {
    /// What an answer depends on besides the request, in a short text: as long as it stays, so
    /// does the answer.
    ///
    /// # Errors
    /// The request is one that is never answered.
    fn state(&self, request: &Request) -> Result<String, Refusal>;

    /// The answer.
    ///
    /// # Errors
    /// There is none, and why.
    fn answer(&self, request: &Request) -> Result<Answer, Refusal>;

    /// End of what is recorded so far, ms since the Unix epoch; none if nothing is.
    fn end(&self) -> Option<f64>;
}
