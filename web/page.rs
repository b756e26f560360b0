//! The files of the viewer, which are part of the program.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// Everything in `static/`. A debug build reads it from there at each request.
#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// A file of the viewer.
pub struct File {
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
    /// Content type.
    pub content: &'static str,
    /// A text that changes with its bytes.
    pub tag: String,
}

/// The file at `path`, an address such as `/app.css`; the page itself at `/`.
pub fn file(path: &str) -> Option<File> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let content = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    // Names are those of files that there are; anything cleverer is not one of them.
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !name.split('/').all(plain) {
        return None;
    }
    let file = Files::get(name)?;
    let hash: String =
        file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(File { bytes: file.data, content, tag: hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_there_and_nothing_else_is() {
        let page = file("/").unwrap();
        assert_eq!(page.content, "text/html; charset=utf-8");
        assert_eq!(file("/index.html").unwrap().tag, page.tag);
        for path in [
            "",
            "index.html",
            "//index.html",
            "/../lib.rs",
            "/../static/index.html",
            "/%2e%2e/static/index.html",
            "/./index.html",
            "/..",
            "/index.html/",
            "/etc/passwd",
            "/lib.rs",
            "/index.html\0",
            "/x\\..\\index.html",
        ] {
            assert!(file(path).is_none(), "{path}");
        }
    }
}
