//! To engines that others run: windows of a store, in each engine's own protocol.
//!
//! ```text
//! store ─► batch ─► pyroscope, otlp, parca, pprof, coroot ─► http, rpc ─► the network
//!            ▲      folder, bucket
//!          series   one per service, container, pod
//! ```
//!
//! The store is the queue: what was recorded stays in it for days, so all that has to be remembered
//! of a receiver is how far it has come ([`Progress`], a small file beside the recordings). One that
//! is down is caught up with later; what is older than the limit is left out and counted.
//!
//! An agent does this in a process of its own without privilege, so that no answer of a server ever
//! reaches the one that holds BPF.

mod address;
mod batch;
mod bucket;
mod coroot;
mod folder;
mod http;
mod keys;
mod otlp;
mod parca;
mod pieces;
mod plain;
mod progress;
mod pyroscope;
mod retry;
mod rpc;
mod series;
mod worker;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;

pub use self::{
    address::Address,
    keys::Keys,
    progress::{Progress, folder as progress_folder, read_all as read_progress},
    worker::{Feed, Pace, follow, push_all},
};
use self::{
    address::{Protocol, Transport},
    batch::Batch,
};

/// What of the environment a process that pushes needs: who it is, and which way out there is.
pub const VARIABLES: &[&str] = &[
    keys::VARIABLE,
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// What is true of all connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// PEM file of the certificates that a server's has to be signed by, instead of Mozilla's.
    pub ca: Option<PathBuf>,
    /// What servers want to know of us.
    pub keys: Arc<Keys>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// What is sent in one piece.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parcel {
    /// Where to, within the receiver: a path and a query, or the name of a file.
    pub place: String,
    /// What is sent.
    pub body: Vec<u8>,
    /// Profiles in it.
    pub profiles: u64,
}

/// Why a parcel was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// It may be taken later; after this time, if the receiver says so.
    Later(String, Option<Duration>),
    /// It will not be taken, whatever is done: this one parcel is at fault.
    Never(String),
    /// Nothing will be taken before somebody puts an address, a certificate or a credential right.
    Setup(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(why, _) | Self::Never(why) | Self::Setup(why) => f.write_str(why),
        }
    }
}

/// One that takes profiles, in its own protocol.
trait Receiver: Send {
    /// What is to be sent of a batch, in pieces that it takes.
    ///
    /// # Errors
    /// Something cannot be written in this protocol.
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>>;

    /// Sends one piece. Gives the number of profiles in it that were not taken, and why.
    ///
    /// # Errors
    /// None was taken.
    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal>;
}

/// The receiver at an address.
fn receiver(address: &Address, settings: &Settings) -> Result<Box<dyn Receiver>> {
    Ok(match (address.protocol, address.transport) {
        (Protocol::Pyroscope, _) => Box::new(pyroscope::Pyroscope::new(address, settings)?),
        (Protocol::Otlp, Transport::Grpc) => Box::new(otlp::Grpc::new(address, settings)?),
        (Protocol::Otlp, _) => Box::new(otlp::Http::new(address, settings)?),
        (Protocol::Parca, Transport::Grpc) => Box::new(parca::Grpc::new(address, settings)?),
        (Protocol::Parca, _) => Box::new(parca::Http::new(address, settings)?),
        (Protocol::Pprof, _) => Box::new(plain::Plain::new(address, settings)?),
        (Protocol::Coroot, _) => Box::new(coroot::Coroot::new(address, settings)?),
        (Protocol::Folder, _) => Box::new(folder::Files::new(address)?),
        (Protocol::Bucket, _) => Box::new(bucket::Bucket::new(address, settings)?),
    })
}
