//! Credentials: from a file or from the environment, never from a command line, and never into a
//! log.
//!
//! A line for each receiver: its host, or host and port, what kind of credential it is, and the
//! credential:
//!
//! ```text
//! profiles.example.com       bearer       TOKEN
//! profiles.example.com:4040  basic        USER PASSWORD
//! collector                  bearer-file  /var/run/secrets/token
//! coroot.example.com         header       X-API-Key: KEY
//! ```
//!
//! The file is read anew for each request, as is that of a `bearer-file`: tokens change.

use std::{
    env,
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};

/// The environment variable that holds lines like those of the file.
pub const VARIABLE: &str = "RPROF_PUSH_AUTH";
/// Bytes of a file that are read.
const FILE_BYTES: u64 = 64 << 10;
/// Shorter ones are not looked for in texts: they would be found anywhere.
const SCRUBBED: usize = 4;

/// Where credentials are.
#[derive(Clone, Default)]
pub struct Keys {
    file: Option<PathBuf>,
    /// What the environment says.
    lines: String,
}

/// A header of a request.
pub type Header = (String, String);

// What it holds is never shown.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Keys {
    /// Those of `file`, if there is one, and of the environment.
    ///
    /// # Errors
    /// The file cannot be read, or others can read it; or a line says nothing that is known.
    pub fn open(file: Option<PathBuf>) -> Result<Self> {
        let keys = Self { file, lines: env::var(VARIABLE).unwrap_or_default() };
        if let Some(path) = &keys.file {
            let cannot = || format!("cannot read {}", path.display());
            let mode = path.metadata().with_context(cannot)?.mode();
            if mode & 0o007 != 0 {
                bail!(
                    "{} holds credentials and everybody can read it; chmod o= it",
                    path.display()
                );
            }
        }
        keys.all()?;
        Ok(keys)
    }

    /// True if there is one for a receiver.
    pub fn has(&self, host: &str, port: Option<u16>) -> bool {
        self.headers(host, port).is_ok_and(|headers| !headers.is_empty())
    }

    /// Headers for a request to a receiver.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn headers(&self, host: &str, port: Option<u16>) -> Result<Vec<Header>> {
        let place = port.map(|port| format!("{host}:{port}"));
        let mine = |known: &str| known == host || Some(known) == place.as_deref();
        Ok(self.all()?.into_iter().filter(|(known, _)| mine(known)).map(|(_, one)| one).collect())
    }

    /// `text` without any credential that is in it: a server may say back what it was told.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let headers = self.all().unwrap_or_default();
        let variables = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(env::var);
        let mut secrets: Vec<String> = variables.into_iter().flatten().collect();
        for (_, (_, value)) in headers {
            let value = value.trim();
            let last = value.rsplit(' ').next().unwrap_or_default();
            if let Ok(Ok(pair)) = BASE64_STANDARD.decode(last).map(String::from_utf8) {
                secrets.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
            }
            secrets.extend([value.to_owned(), last.to_owned()]);
        }
        secrets.retain(|secret| secret.len() >= SCRUBBED);
        // The longest first: one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            text = text.replace(&secret, "***");
        }
        text
    }

    fn all(&self) -> Result<Vec<(String, Header)>> {
        let mut all = parse(&self.lines, VARIABLE)?;
        if let Some(file) = &self.file {
            all.extend(parse(&read(file)?, &file.display().to_string())?);
        }
        Ok(all)
    }
}

fn read(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(FILE_BYTES).read_to_string(&mut text).with_context(cannot)?;
    Ok(text)
}

/// Receivers and their headers. What is wrong is told by the number of the line alone.
fn parse(text: &str, origin: &str) -> Result<Vec<(String, Header)>> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || {
            format!(
                "line {number} of {origin} is not HOST bearer TOKEN, HOST bearer-file PATH, \
                 HOST basic USER PASSWORD or HOST header NAME: VALUE"
            )
        };
        let (host, rest) = line.split_once(char::is_whitespace).with_context(wrong)?;
        let (kind, rest) = rest.trim().split_once(char::is_whitespace).with_context(wrong)?;
        let rest = rest.trim();
        let authorization = |value: String| ("authorization".to_owned(), value);
        let header = match kind {
            "bearer" => authorization(format!("Bearer {rest}")),
            "bearer-file" => authorization(format!("Bearer {}", read(Path::new(rest))?.trim())),
            "basic" => {
                let (user, password) = rest.split_once(char::is_whitespace).with_context(wrong)?;
                let pair = format!("{user}:{}", password.trim());
                authorization(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            "header" => {
                let (name, value) = rest.split_once(':').with_context(wrong)?;
                let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if name.is_empty() || !name.bytes().all(token) {
                    bail!("{}", wrong());
                }
                (name.to_lowercase(), value.trim().to_owned())
            }
            _ => bail!("{}", wrong()),
        };
        if header.1.bytes().any(|byte| byte.is_ascii_control()) {
            bail!("{}", wrong());
        }
        found.push((host.to_owned(), header));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn keys(lines: &str) -> Keys {
        Keys { file: None, lines: lines.into() }
    }

    #[test]
    fn each_kind_of_credential_becomes_its_header() {
        let place = tempfile::NamedTempFile::new().unwrap();
        fs::write(place.path(), "fresh-token\n").unwrap();
        let file = place.path().display();
        let keys = keys(&format!(
            "# a comment\n\na basic me hunter2\nb:4040 bearer abcdef\n\
             c bearer-file {file}\nd header X-API-Key: k:1\n"
        ));
        let one = |host: &str, port| keys.headers(host, Some(port)).unwrap();
        let auth = |value: &str| vec![("authorization".to_owned(), value.to_owned())];
        assert_eq!(one("a", 1), auth("Basic bWU6aHVudGVyMg=="));
        assert_eq!(one("b", 4040), auth("Bearer abcdef"));
        assert_eq!(one("b", 4041), []);
        assert_eq!(one("c", 1), auth("Bearer fresh-token"));
        assert_eq!(one("d", 1), [("x-api-key".to_owned(), "k:1".to_owned())]);
        fs::write(place.path(), "another\n").unwrap();
        assert_eq!(one("c", 1), auth("Bearer another"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for line in ["h hunter2hunter2", "h bearer2 hunter2", "h basic hunter2", "h header hunter2"]
        {
            let error = format!("{:#}", parse(line, "FILE").unwrap_err());
            assert!(error.contains("line 1 of FILE") && !error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", keys("h bearer hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_refused() {
        let place = tempfile::NamedTempFile::new().unwrap();
        fs::write(place.path(), "h bearer hunter2").unwrap();
        let open = |mode| {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
            Keys::open(Some(place.path().to_owned()))
        };
        assert!(open(0o640).unwrap().has("h", None));
        let error = open(0o644).unwrap_err().to_string();
        assert!(error.contains("everybody can read it"), "{error}");
        assert!(Keys::open(Some("/nonexistent/keys".into())).is_err());
    }

    #[test]
    fn what_a_server_says_back_is_scrubbed() {
        let keys = keys("a basic me hunter2\nb bearer abcdef");
        let said = "you said Basic bWU6aHVudGVyMg== or abcdef, that is hunter2";
        let scrubbed = keys.scrub(said);
        assert!(!["hunter2", "bWU6", "abcdef"].iter().any(|secret| scrubbed.contains(secret)));
        assert!(scrubbed.starts_with("you said *** or ***"), "{scrubbed}");
    }
}
