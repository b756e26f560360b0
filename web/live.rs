//! Server-sent events: tells pages that there is something new.
//!
//! The backend is asked once a second, for all pages together, and only while there are any.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use futures_util::stream;
use tokio::{sync::watch, time::timeout};

use super::{Backend, api::turn_away, connection::Work};

/// How often the backend is asked.
const PACE: Duration = Duration::from_secs(1);
/// How often a page is sent something in any case, so that one that is gone is noticed.
const BEAT: Duration = Duration::from_secs(15);
/// Pages that can be told.
const PAGES: usize = 64;

/// The end of what is recorded, for all who want to know.
pub struct Live {
    end: watch::Sender<Option<f64>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { end: watch::Sender::new(None) }
    }
}

impl Live {
    /// A stream of events.
    pub fn stream(&self, work: Work) -> HttpResponse {
        if self.end.receiver_count() >= PAGES {
            let words = "too many pages are open in live mode";
            return turn_away((actix_web::http::StatusCode::SERVICE_UNAVAILABLE, words), work);
        }
        work.go_on();
        let mut end = self.end.subscribe();
        // What is known now is news to a new page.
        end.mark_changed();
        let events = stream::unfold((end, work), |(mut end, work)| async move {
            let text = match timeout(BEAT, end.changed()).await {
                Ok(Ok(())) => match *end.borrow_and_update() {
                    Some(end) => format!("event: grown\ndata: {{\"end\":{end}}}\n\n"),
                    None => ": nothing yet\n\n".to_owned(),
                },
                Ok(Err(_)) => return None,
                Err(_) => ": still there\n\n".to_owned(),
            };
            Some((Ok::<_, Infallible>(Bytes::from(text)), (end, work)))
        });
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/event-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            // Else the events would wait until there is enough to compress.
            .insert_header((header::CONTENT_ENCODING, "identity"))
            .streaming(events)
    }

    /// Asks `backend`, for as long as there is a server.
    pub async fn follow(live: Weak<Self>, backend: Arc<dyn Backend>) {
        loop {
            tokio::time::sleep(PACE).await;
            let Some(live) = live.upgrade() else { return };
            if live.end.receiver_count() == 0 {
                continue;
            }
            let backend = backend.clone();
            if let Ok(end) = actix_web::web::block(move || backend.end()).await {
                live.end.send_if_modified(|known| std::mem::replace(known, end) != end);
            }
        }
    }
}
