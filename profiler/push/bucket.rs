//! A bucket of S3 or of what speaks like it: the objects are named like the files of a folder.
//!
//! Where it is and who we are the environment says, in the words that AWS has for it:
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, and
//! `AWS_ENDPOINT_URL` for one that is not at AWS, whose buckets are then part of the path.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use rusty_s3::{Credentials, S3Action, UrlStyle};

use super::{Address, Parcel, Receiver, Refusal, Settings, batch::Batch, http::Http, plain::whole};

/// How long a signature holds.
const SIGNED: Duration = Duration::from_secs(300);

/// The bucket.
pub struct Bucket {
    http: Http,
    bucket: rusty_s3::Bucket,
    credentials: Option<Credentials>,
    prefix: String,
}

impl Bucket {
    /// The one at an address: `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// The environment has half of what is needed.
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".into());
        let elsewhere = set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
        let (endpoint, style) = match elsewhere {
            Some(url) => (url, UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let endpoint = endpoint.parse().context("AWS_ENDPOINT_URL is not a URL")?;
        let name = address.url.host_str().unwrap_or_default().to_owned();
        let bucket = rusty_s3::Bucket::new(endpoint, style, name, region)
            .context("AWS_ENDPOINT_URL is no address of a server")?;
        let credentials = match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => None,
            (Some(key), Some(secret)) => Some(match set("AWS_SESSION_TOKEN") {
                Some(token) => Credentials::new_with_token(key, secret, token),
                None => Credentials::new(key, secret),
            }),
            _ => anyhow::bail!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are needed both"),
        };
        let prefix = address.url.path().trim_matches('/').to_owned();
        Ok(Self { http: Http::new(address, settings)?, bucket, credentials, prefix })
    }
}

impl Receiver for Bucket {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        batch.parts.iter().map(whole).collect()
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let name = match &*self.prefix {
            "" => parcel.place.clone(),
            prefix => format!("{prefix}/{}", parcel.place),
        };
        let url = self.bucket.put_object(self.credentials.as_ref(), &name).sign(SIGNED);
        self.http.put(url.as_str(), &parcel.body).map(|()| None)
    }
}
