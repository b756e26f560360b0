//! A folder of pprof files: `HOST/process_cpu/2026-11-21T03-12-00.000Z.pb.gz`.

use std::{
    fs::{self, DirBuilder},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

use anyhow::{Context, Result};

use super::{Address, Parcel, Receiver, Refusal, batch::Batch, plain::whole};

/// The folder.
pub struct Files(PathBuf);

impl Files {
    /// The one at an address: `file:///var/lib/profiles`.
    ///
    /// # Errors
    /// It is no path of this machine.
    pub fn new(address: &Address) -> Result<Self> {
        let path = address.url.to_file_path();
        path.map(Self).ok().context("that is no folder of this machine")
    }

    fn write(&self, parcel: &Parcel) -> std::io::Result<()> {
        let path = self.0.join(&parcel.place);
        let folder = path.parent().unwrap_or(&self.0);
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        // Nobody finds half a file.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&parcel.body)?;
        file.persist(&path)?;
        Ok(())
    }
}

impl Receiver for Files {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        batch.parts.iter().map(whole).collect()
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let cannot = |error: std::io::Error| {
            let why = format!("cannot write below {}: {error}", self.0.display());
            match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory => {
                    Refusal::Setup(why)
                }
                _ => Refusal::Later(why, None),
            }
        };
        // A disk that comes later must not be written below.
        if let Err(error) = fs::metadata(&self.0) {
            return Err(Refusal::Setup(format!("{}: {error}", self.0.display())));
        }
        self.write(parcel).map(|()| None).map_err(cannot)
    }
}
