//! What a client asks of the proxy: the head of a request (RFC 9112), understood
//! as far as a proxy must.

/// Bytes of a request's head.
pub(super) const HEAD: usize = 64 << 10;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The host to reach, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What is sent to it first: the request as its server expects it. None for a
    /// tunnel, of which the client is told that it is there.
    pub(super) head: Option<Vec<u8>>,
}

/// Why a request is not understood: a status, and a sentence.
pub(super) type Refused = (&'static str, String);

const BAD: &str = "400 Bad Request";

/// The length of the head at the beginning of these bytes, if it is complete.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    // As lenient as servers are: a script may write lines as it likes.
    let lf = bytes.windows(2).position(|window| window == b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

/// Understands a head.
pub(super) fn parse(head: &[u8]) -> Result<Request, Refused> {
    let refuse = |words: &str| (BAD, words.to_owned());
    let text = std::str::from_utf8(head).map_err(|_| refuse("the request is no text"))?;
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse("the first line is no request of HTTP/1.1"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(("505 HTTP Version Not Supported", "this proxy speaks HTTP/1.1".to_owned()));
    }
    if method == "CONNECT" {
        let (host, port) = authority(target, None)
            .ok_or_else(|| refuse("CONNECT wants a host and a port, like CONNECT example.org:443"))?;
        return Ok(Request { host, port, head: None });
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(refuse(
            "this is the job's proxy to the network, and no web server: ask it for a whole address, \
             like GET http://example.org/",
        ));
    };
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(refuse("ask with CONNECT for anything but http"));
    }
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    // What comes before the @ is a password, and nobody's business here.
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let (host, port) = authority(place, Some(80)).ok_or_else(|| refuse("there is no host in the address"))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut out = format!("{method} {slash}{path} {version}\r\nHost: {place}\r\n");
    for line in headers(lines) {
        out.push_str(line);
        out.push_str("\r\n");
    }
    // One request a connection: the end of it is the end of the answer.
    out.push_str("Connection: close\r\n\r\n");
    Ok(Request { host, port, head: Some(out.into_bytes()) })
}

/// The headers that go on: all but those between client and proxy (RFC 9110
/// §7.6.1) and the host, which the address names.
fn headers<'a>(lines: std::str::Lines<'a>) -> impl Iterator<Item = &'a str> {
    let name = |line: &'a str| line.split(':').next().unwrap_or_default().trim();
    let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let named: Vec<&str> = lines
        .iter()
        .filter(|line| name(line).eq_ignore_ascii_case("connection"))
        .flat_map(|line| line.split_once(':').map_or("", |(_, value)| value).split(','))
        .map(str::trim)
        .collect();
    lines.into_iter().filter(move |line| {
        let own = ["host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"];
        let name = name(line);
        !own.into_iter().chain(named.iter().copied()).any(|own| name.eq_ignore_ascii_case(own))
    })
}

/// The host without brackets, and the port.
fn authority(text: &str, port: Option<u16>) -> Option<(String, u16)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some("") | None => port?,
        Some(digits) => digits.parse().ok().filter(|&port| port > 0)?,
    };
    let fine = !host.is_empty() && (rest.is_empty() || rest.starts_with(':'));
    fine.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(request: &str) -> (String, u16, String) {
        let Request { host, port, head } = parse(request.as_bytes()).unwrap();
        (host, port, String::from_utf8(head.unwrap()).unwrap())
    }

    #[test]
    fn a_tunnel_has_a_host_and_a_port() {
        for (target, host, port) in [
            ("example.org:443", "example.org", 443),
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("[2001:db8::1]:8443", "2001:db8::1", 8443),
        ] {
            let request = parse(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(request, Request { host: host.to_owned(), port, head: None });
        }
    }

    #[test]
    fn a_plain_request_is_said_as_its_server_expects_it() {
        let (host, port, head) = plain(
            "GET http://me:secret@example.org:8080/a?b=c HTTP/1.1\r\nHost: other.example\r\nAccept: */*\r\n\
             Connection: keep-alive, X-Own\r\nX-Own: 1\r\nProxy-Authorization: Basic eA==\r\n\r\n",
        );
        assert_eq!((host.as_str(), port), ("example.org", 8080));
        assert_eq!(
            head,
            "GET /a?b=c HTTP/1.1\r\nHost: example.org:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_the_top() {
        for (target, line) in [
            ("http://example.org", "GET / HTTP/1.1"),
            ("http://example.org?a", "GET /?a HTTP/1.1"),
            ("HTTP://example.org/", "GET / HTTP/1.1"),
        ] {
            let (_, port, head) = plain(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert_eq!((port, head.lines().next()), (80, Some(line)));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_words() {
        for (request, words) in [
            ("GET / HTTP/1.1\r\n\r\n", "no web server"),
            ("GET https://example.org/ HTTP/1.1\r\n\r\n", "CONNECT"),
            ("CONNECT example.org HTTP/1.1\r\n\r\n", "a host and a port"),
            ("CONNECT :443 HTTP/1.1\r\n\r\n", "a host and a port"),
            ("CONNECT example.org:0 HTTP/1.1\r\n\r\n", "a host and a port"),
            ("CONNECT example.org:99999 HTTP/1.1\r\n\r\n", "a host and a port"),
            ("CONNECT [::1 HTTP/1.1\r\n\r\n", "a host and a port"),
            ("CONNECT [::1]x:1 HTTP/1.1\r\n\r\n", "a host and a port"),
            ("GET http:///x HTTP/1.1\r\n\r\n", "no host"),
            ("hello\r\n\r\n", "no request"),
            ("GET http://a/ HTTP/2\r\n\r\n", "HTTP/1.1"),
        ] {
            let (_, said) = parse(request.as_bytes()).unwrap_err();
            assert!(said.contains(words), "{request}: {said}");
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody"), Some(24));
        assert_eq!(head_length(b"GET / HTTP/1.1\n\nbody"), Some(16));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n"), None);
    }
}
