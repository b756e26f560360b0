//! Who may ask: each request is checked before anything is done for it.
//!
//! A server on loopback is within reach of every web page that its user opens. What keeps those
//! away: a page of another site whose name was made to point here (DNS rebinding) says its own name
//! in `Host`; one that asks across sites is given away by `Origin` and `Sec-Fetch-Site`, which
//! scripts cannot set; and nothing here may be framed or read by another origin. Other machines
//! need the token.

use std::net::IpAddr;

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName},
    },
};

use super::token::Token;

/// The longest address with its query, bytes. A function's name may be part of it.
const ADDRESS: usize = 48 << 10;
/// What all headers together may come to, bytes.
const HEADERS: usize = 16 << 10;
/// Words in a query.
const WORDS: usize = 64;
/// Bytes of one word of a query, decoded.
const WORD: usize = 16 << 10;

/// Name of the cookie that holds the token.
const COOKIE: &str = "rprof";
/// How long a browser keeps it.
const COOKIE_DAYS: i64 = 30;

/// Nothing but our own files runs, nothing is sent elsewhere, and no text becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every answer.
pub const ANSWER_HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Why a request is not let in: the status, and the words for who asked.
pub type Turned = (StatusCode, &'static str);

/// What is asked of every request.
pub struct Guard {
    /// Host names that stand for this server, in lower case.
    pub hosts: Vec<String>,
    /// True where every address in figures stands for this server too: a name is what rebinding
    /// needs.
    pub any_address: bool,
    /// The token, where one is needed.
    pub token: Option<Token>,
}

impl Guard {
    /// Checks everything but the words of the query.
    ///
    /// # Errors
    /// The request is not let in.
    pub fn check(&self, request: &HttpRequest) -> Result<(), Turned> {
        let headers = request.headers();
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered"));
        }
        let address = request.uri().path_and_query().map_or(0, |address| address.as_str().len());
        if address > ADDRESS {
            return Err((StatusCode::URI_TOO_LONG, "the address is too long"));
        }
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        if size.sum::<usize>() > HEADERS {
            let words = "the headers are too long";
            return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, words));
        }
        let empty = one(headers, header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if !empty || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "a question has no body"));
        }
        let host = self.host(request)?;
        self.origin(request, &host)?;
        self.token(request)
    }

    fn host(&self, request: &HttpRequest) -> Result<String, Turned> {
        let foreign = (
            StatusCode::MISDIRECTED_REQUEST,
            "this server is not known under that name; open http://localhost:PORT, or start it \
             with --host NAME",
        );
        let mut hosts = request.headers().get_all(header::HOST);
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(foreign) };
        let host = host.to_str().map_err(|_| foreign)?.to_ascii_lowercase();
        let name = name(&host);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let known = self.hosts.iter().any(|known| known == name);
        // An absolute address would be that of a proxy, which this is not.
        let direct = request.uri().authority().is_none();
        if direct && (known || self.any_address && address.is_ok()) {
            Ok(host)
        } else {
            Err(foreign)
        }
    }

    fn origin(&self, request: &HttpRequest, host: &str) -> Result<(), Turned> {
        let elsewhere = (StatusCode::FORBIDDEN, "not for pages of other sites");
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            let origin = one(headers, header::ORIGIN).unwrap_or_default().to_ascii_lowercase();
            let ours = ["http://", "https://"]
                .iter()
                .any(|scheme| origin.strip_prefix(scheme).is_some_and(|origin| origin == host));
            if !ours {
                return Err(elsewhere);
            }
        }
        let fetch = |name| headers.get(HeaderName::from_static(name)).map(|value| value.as_bytes());
        match fetch("sec-fetch-site") {
            None | Some(b"same-origin" | b"none") => Ok(()),
            // A link to the page, which holds nothing of the recording, may be followed from anywhere.
            Some(b"cross-site" | b"same-site")
                if request.path() == "/"
                    && fetch("sec-fetch-mode") == Some(b"navigate")
                    && fetch("sec-fetch-dest") == Some(b"document") =>
            {
                Ok(())
            }
            Some(_) => Err(elsewhere),
        }
    }

    fn token(&self, request: &HttpRequest) -> Result<(), Turned> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = one(request.headers(), header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|text| token.is(text.trim()));
        let cookie = request.cookie(COOKIE).is_some_and(|cookie| token.is(cookie.value()));
        if bearer || cookie {
            return Ok(());
        }
        let words = "this needs the token: open the address that rprof printed at its start, or \
            send Authorization: Bearer TOKEN";
        Err((StatusCode::UNAUTHORIZED, words))
    }

    /// The cookie for a browser that brings the token in the address of the page, and the words
    /// of that address without it. To be asked where [`Guard::check`] answers 401.
    pub fn exchange(&self, request: &HttpRequest) -> Option<(Cookie<'static>, String)> {
        let token = self.token.as_ref().filter(|_| request.path() == "/")?;
        let words = words(request.query_string()).ok()?;
        let (_, secret) = words.iter().find(|(name, _)| name == "token")?;
        if !token.is(secret) {
            return None;
        }
        let rest = request.query_string().split('&').filter(|word| !word.starts_with("token="));
        let cookie = Cookie::build(COOKIE, token.secret().to_owned())
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .max_age(Duration::days(COOKIE_DAYS));
        Some((cookie.finish(), rest.collect::<Vec<_>>().join("&")))
    }
}

/// The words of a query, decoded.
///
/// # Errors
/// There are too many, or one is too long.
pub fn words(query: &str) -> Result<Vec<(String, String)>, Turned> {
    let words = actix_web::web::Query::<Vec<(String, String)>>::from_query(query);
    let words = words.map_err(|_| (StatusCode::BAD_REQUEST, "the query cannot be read"))?.0;
    if words.len() > WORDS || words.iter().any(|(name, value)| name.len() + value.len() > WORD) {
        return Err((StatusCode::URI_TOO_LONG, "the query has too many words, or too long ones"));
    }
    Ok(words)
}

/// The value of a header that there is once.
fn one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A host without its port.
fn name(host: &str) -> &str {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, end)) if port(end) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn guard() -> Guard {
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        Guard { hosts, any_address: false, token: None }
    }

    fn status(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = TestRequest::with_uri(path);
        for header in headers {
            request = request.append_header(*header);
        }
        guard.check(&request.to_http_request()).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names() {
        let host = |host| status(&guard(), "/", &[("host", host)]);
        for ours in ["localhost:7171", "LOCALHOST", "127.0.0.1:80", "[::1]:7171", "[::1]"] {
            assert_eq!(host(ours), 200, "{ours}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "localhost:", "10.0.0.1", "", "::1", "a:b:1"]
        {
            assert_eq!(host(foreign), 421, "{foreign}");
        }
        assert_eq!(status(&guard(), "/", &[]), 421);
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&guard(), "/", &twice), 421);
        assert_eq!(status(&guard(), "http://localhost/", &[("host", "localhost")]), 421);
        let open = Guard { any_address: true, ..guard() };
        assert_eq!(status(&open, "/", &[("host", "10.0.0.1:7171")]), 200);
        assert_eq!(status(&open, "/", &[("host", "[fe80::1]:7171")]), 200);
        assert_eq!(status(&open, "/", &[("host", "evil.example")]), 421);
    }

    #[test]
    fn only_our_own_pages() {
        let host = ("host", "localhost:7171");
        let ask = |path, headers: &[_]| status(&guard(), path, &[&[host], headers].concat());
        assert_eq!(ask("/api/table", &[("origin", "http://localhost:7171")]), 200);
        for origin in ["http://localhost:3000", "http://evil.example", "null", "", "localhost:7171"]
        {
            assert_eq!(ask("/api/table", &[("origin", origin)]), 403, "{origin}");
        }
        for (site, expected) in [
            ("same-origin", 200),
            ("none", 200),
            ("same-site", 403),
            ("cross-site", 403),
            ("x", 403),
        ] {
            assert_eq!(ask("/api/table", &[("sec-fetch-site", site)]), expected, "{site}");
        }
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(ask("/", &link), 200);
        assert_eq!(ask("/api/table", &link), 403);
        assert_eq!(ask("/", &[link[0], link[1], ("sec-fetch-dest", "iframe")]), 403);
    }

    #[test]
    fn only_with_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::open(&folder.path().join("token")).unwrap();
        let secret = token.secret().to_owned();
        let guard = Guard { token: Some(token), ..guard() };
        let host = ("host", "localhost");
        assert_eq!(status(&guard, "/api/table", &[host]), 401);
        for (name, value, expected) in [
            ("authorization", format!("Bearer {secret}"), 200),
            ("authorization", format!("Basic {secret}"), 401),
            ("cookie", format!("rprof={secret}"), 200),
            ("cookie", "rprof=wrong".to_owned(), 401),
        ] {
            assert_eq!(status(&guard, "/api/table", &[host, (name, &value)]), expected, "{value}");
        }

        let exchange =
            |address: &str| guard.exchange(&TestRequest::with_uri(address).to_http_request());
        let (cookie, rest) = exchange(&format!("/?from=1s&token={secret}&by=process")).unwrap();
        assert_eq!(rest, "from=1s&by=process");
        let cookie = cookie.to_string();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(exchange("/?token=wrong").is_none());
        assert!(exchange(&format!("/api/table?token={secret}")).is_none());
    }

    #[test]
    fn nothing_is_too_long_or_too_much() {
        let host = ("host", "localhost");
        let long = format!("/?focus={}", "x".repeat(50_000));
        assert_eq!(status(&guard(), &long, &[host]), 414);
        assert_eq!(status(&guard(), "/", &[host, ("x", &"y".repeat(17_000))]), 431);
        assert_eq!(status(&guard(), "/", &[host, ("content-length", "5")]), 413);
        assert_eq!(status(&guard(), "/", &[host, ("transfer-encoding", "chunked")]), 413);
        let post = TestRequest::post().insert_header(host).to_http_request();
        assert_eq!(guard().check(&post).unwrap_err().0, 405);
        assert!(words(&"a=1&".repeat(65)).is_err());
        assert!(words(&format!("a={}", "x".repeat(17_000))).is_err());
        let pairs = words("focus=a%3Cb%26+c&only=x&only=y").unwrap();
        let text: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(text, ["focus:a<b& c", "only:x", "only:y"]);
    }
}
