//! OpenTelemetry profiles (OTLP), over gRPC or HTTP.

mod encoder;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceResponse;
use prost::Message;

use self::encoder::requests;
use super::{
    Address, Parcel, Receiver, Refusal, Settings,
    batch::Batch,
    http::{self, below, told},
    pieces::gzip,
    rpc::Rpc,
};

const METHOD: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
const PATH: &str = "/v1development/profiles";

/// One that speaks OTLP, by gRPC.
pub struct Grpc {
    rpc: Rpc,
    settings: Settings,
}

impl Grpc {
    /// The one at an address: `otlp+grpc://HOST:4317`.
    ///
    /// # Errors
    /// See [`Rpc::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        Ok(Self { rpc: Rpc::new(address, settings, METHOD)?, settings: settings.clone() })
    }
}

impl Receiver for Grpc {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        let parcel = |(body, profiles)| Parcel { place: String::new(), body, profiles };
        Ok(requests(batch).into_iter().map(parcel).collect())
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let answer = self.rpc.call(&parcel.body, true)?;
        Ok(not_taken(&answer, &self.settings))
    }
}

/// One that speaks OTLP, by HTTP.
pub struct Http {
    http: http::Http,
    url: String,
    settings: Settings,
}

impl Http {
    /// The one at an address: `otlp+http://HOST:4318`.
    ///
    /// # Errors
    /// See [`http::Http::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        let http = http::Http::new(address, settings)?;
        Ok(Self { http, url: below(&address.url, PATH), settings: settings.clone() })
    }
}

impl Receiver for Http {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        let parcel = |(body, profiles): (Vec<u8>, u64)| {
            Ok(Parcel { place: String::new(), body: gzip(&body)?, profiles })
        };
        requests(batch).into_iter().map(parcel).collect()
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        let answer = self.http.post(&self.url, &headers, &parcel.body)?;
        Ok(not_taken(&answer, &self.settings))
    }
}

/// The number of profiles that an answer says were not taken, and why.
fn not_taken(answer: &[u8], settings: &Settings) -> Option<(u64, String)> {
    // Some servers answer with nothing, or with JSON: then all were taken.
    let partial = ExportProfilesServiceResponse::decode(answer).ok()?.partial_success?;
    let rejected = u64::try_from(partial.rejected_profiles).unwrap_or_default();
    let why = told(&settings.keys, &partial.error_message);
    (rejected > 0 || !why.is_empty()).then_some((rejected, why))
}
