//! RP-20: what configuration may make us ask, and what it may not, against a
//! world that is made up: every connection and every look-up is seen.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc::UnboundedReceiver,
};

use super::*;
use crate::executor::egress::tests::FakeOutside;

type Servers = UnboundedReceiver<(SocketAddr, DuplexStream)>;

/// `idp.corp` is internal, and its administrator has said so.
fn world() -> (Outgoing, Arc<FakeOutside>, Servers) {
    let (outside, servers) = FakeOutside::new();
    outside.name("idp.corp", &["10.0.0.7"]);
    let internal = [Destination::parse("idp.corp:80").unwrap()];
    (Outgoing::to(outside.clone(), &internal), outside, servers)
}

async fn get(outgoing: &Outgoing, address: &str) -> Result<Response<Vec<u8>>, OutgoingError> {
    outgoing.send(Request::get(address).body(Vec::new()).unwrap()).await
}

/// Reads the head of a request.
async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What becomes of a request to the internal provider that is answered so.
async fn answered(answer: impl AsRef<[u8]> + Send + 'static) -> Result<Response<Vec<u8>>, OutgoingError> {
    let (outgoing, _outside, mut servers) = world();
    let server = tokio::spawn(async move {
        let (_, mut stream) = servers.recv().await.unwrap();
        head(&mut stream).await;
        // It may hang up before all of it is said.
        let _ = stream.write_all(answer.as_ref()).await;
    });
    let result = get(&outgoing, "http://idp.corp/token").await;
    let _ = server.await;
    result
}

#[tokio::test]
async fn a_request_goes_out_with_what_was_asked_and_little_else() {
    let (outgoing, outside, mut servers) = world();
    let server = tokio::spawn(async move {
        let (address, mut stream) = servers.recv().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        (address, head)
    });
    let answer = get(&outgoing, "http://idp.corp/a?b=c").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (400, b"no".as_slice()));
    let (address, head) = server.await.unwrap();
    assert_eq!(address, "10.0.0.7:80".parse().unwrap());
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n") && head.contains("host: idp.corp\r\n"), "{head}");
    assert_eq!(*outside.lookups.lock().unwrap(), ["idp.corp"]);
}

#[tokio::test]
async fn rp_20_what_is_not_public_is_refused_however_it_is_written() {
    let (outgoing, outside, _servers) = world();
    outside.name("localhost", &["127.0.0.1 ::1"]);
    outside.name("metadata.example", &["169.254.169.254"]);
    outside.name("intranet.example", &["192.168.1.1"]);
    outside.name("me.example", &["9.9.9.9"]);
    for (address, words) in [
        ("https://127.0.0.1/", "is a loopback address"),
        ("https://127.0.0.1:8443/jwks", "is a loopback address"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://[::ffff:7f00:1]/", "loopback"),
        ("https://[64:ff9b::10.0.0.1]/", "private"),
        ("https://[fd00:ec2::254]/", "metadata"),
        ("https://0.0.0.0/", "no host"),
        ("https://10.0.0.7/", "private"),
        ("https://2130706433/", "neither the name of a host"),
        ("https://0x7f000001/", "neither the name of a host"),
        ("https://0x7f.1/", "neither the name of a host"),
        ("https://0177.0.0.1/", "neither the name of a host"),
        ("https://127.1/", "neither the name of a host"),
        ("https://localhost/", "has a loopback address"),
        ("https://LOCALHOST./", "has a loopback address"),
        ("https://metadata.example/", "metadata"),
        ("https://intranet.example/", "private"),
        ("https://me.example/", "an address of this server"),
        ("https://user:pass@example.com/", "name or password"),
        ("http://example.com/", "plain http"),
        ("http://idp.corp:81/", "plain http"),
        ("ftp://example.com/", "neither https"),
        ("file:///etc/passwd", "neither https"),
    ] {
        let Err(OutgoingError::Refused(said)) = get_or_refuse(&outgoing, address).await else {
            panic!("{address} was asked");
        };
        assert!(said.contains(words), "{address}: {said}");
    }
    assert_eq!(outside.connected.lock().unwrap().len(), 0, "nothing was connected to");
}

/// An address that the URI type cannot even hold is refused, too.
async fn get_or_refuse(outgoing: &Outgoing, address: &str) -> Result<Response<Vec<u8>>, OutgoingError> {
    match Request::get(address).body(Vec::new()) {
        Ok(request) => outgoing.send(request).await,
        Err(_) => Err(OutgoingError::Refused(outgoing.check(address).unwrap_err() + " neither https")),
    }
}

#[tokio::test]
async fn rp_20_internal_is_that_host_with_that_port_and_nothing_beside_it() {
    let (outgoing, outside, _servers) = world();
    // The name is allowed with port 80, so neither its address nor another port is.
    for address in ["https://10.0.0.7/", "https://idp.corp/"] {
        let said = get(&outgoing, address).await.unwrap_err().to_string();
        assert!(said.contains("private") && said.contains("sign_in.internal_hosts"), "{said}");
    }
    assert_eq!(outside.connected.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn rp_20_a_name_that_changes_its_address_gets_nowhere() {
    let (outgoing, outside, mut servers) = world();
    outside.name("rebind.example", &["93.184.215.14", "127.0.0.1"]);
    // What was checked is what is connected to, though the next answer differs.
    let server = tokio::spawn(async move { drop(servers.recv().await.unwrap()) });
    let error = get(&outgoing, "https://rebind.example/").await.unwrap_err();
    assert!(matches!(error, OutgoingError::Broken { .. }), "nobody there speaks TLS: {error}");
    server.await.unwrap();
    let connected = outside.connected.lock().unwrap().clone();
    assert_eq!(connected, ["93.184.215.14:443".parse().unwrap()]);
    assert_eq!(outside.lookups.lock().unwrap().len(), 1, "a name is resolved once for a request");
    let said = get(&outgoing, "https://rebind.example/").await.unwrap_err().to_string();
    assert!(said.contains("has a loopback address"), "{said}");
    assert_eq!(outside.connected.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn rp_20_of_mixed_answers_only_public_addresses_are_tried() {
    let (outgoing, outside, mut servers) = world();
    outside.name("mixed.example", &["10.0.0.1 ::1 93.184.215.14 169.254.169.254"]);
    let server = tokio::spawn(async move { drop(servers.recv().await.unwrap()) });
    get(&outgoing, "https://mixed.example/").await.unwrap_err();
    server.await.unwrap();
    assert_eq!(*outside.connected.lock().unwrap(), ["93.184.215.14:443".parse().unwrap()]);
}

#[tokio::test]
async fn rp_20_redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n");
        let error = answered(answer).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Redirect { status: s, .. } if s == status), "{error}");
    }
}

#[tokio::test]
async fn rp_20_fifty_megabytes_end_after_one() {
    let body = |size: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + size, b' ');
        answer
    };
    let error = answered(body(50 << 20)).await.unwrap_err();
    assert!(matches!(error, OutgoingError::TooLarge(_)), "{error}");
    // The same without saying so beforehand.
    let error =
        answered([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 50 << 20]].concat()).await.unwrap_err();
    assert!(matches!(error, OutgoingError::TooLarge(_)), "{error}");
    assert_eq!(answered(body(LARGEST)).await.unwrap().body().len(), LARGEST, "a large one is fine");
}

#[tokio::test(start_paused = true)]
async fn rp_20_an_answer_that_drips_ends() {
    let (outgoing, _outside, mut servers) = world();
    let server = tokio::spawn(async move {
        let (_, mut stream) = servers.recv().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut dripped = 0;
        while stream.write_all(b"x").await.is_ok() {
            dripped += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        dripped
    });
    let error = get(&outgoing, "http://idp.corp/").await.unwrap_err();
    assert!(matches!(error, OutgoingError::TooSlow(_)), "{error}");
    assert!(server.await.unwrap() >= 14, "the connection was closed at the end of the time");
}

#[tokio::test(start_paused = true)]
async fn rp_20_a_host_that_does_not_answer_is_given_up() {
    let (outside, _servers) = FakeOutside::new();
    outside.name("idp.corp", &["10.0.0.7"]);
    let mut outside = outside;
    Arc::get_mut(&mut outside).unwrap().silent = true;
    let outgoing = Outgoing::to(outside, &[Destination::parse("idp.corp:80").unwrap()]);
    let error = get(&outgoing, "http://idp.corp/").await.unwrap_err();
    assert!(matches!(error, OutgoingError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    let error = answered("SSH-2.0-OpenSSH_9.2\r\n").await.unwrap_err();
    assert!(matches!(error, OutgoingError::Broken { .. }), "{error}");
}
