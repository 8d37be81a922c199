//! The proxy inside the machine, with real clients, and the test as the host.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use devenv_cloud_guest::{
    network::{self, Mux},
    protocol::{
        Finished, GuestMessage, HostMessage, Level, Network, Outcome, Why, limits, read_message,
        write_message,
    },
    recorder::{NewSpan, Recorder},
    streams::{Read, Reset, Side, Streams, Wanted, Write},
};

use crate::host::{Ground, commit};

/// A guest's proxy, and the host's end of its channel.
struct Scene {
    proxy: SocketAddr,
    recorder: Recorder,
    channel: UnixStream,
    streams: Streams,
    records: u64,
}

impl Scene {
    fn new() -> Self {
        let recorder = Recorder::default();
        let mux = Mux::new(recorder.clone());
        let proxy = network::start((Ipv4Addr::LOCALHOST, 0).into(), mux.clone()).unwrap();
        let (channel, guest) = UnixStream::pair().unwrap();
        let (reader, sender, aside) = (guest.try_clone().unwrap(), recorder.clone(), mux.clone());
        thread::spawn(move || sender.send_all(guest, &aside));
        thread::spawn(move || {
            while let Ok(HostMessage::Network(message)) = read_message(&reader) {
                mux.receive(message).unwrap();
            }
            mux.abandon();
        });
        channel.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { proxy, recorder, channel, streams: Streams::new(Side::Host), records: 0 }
    }

    fn client(&self, request: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.proxy).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client
    }

    /// Says what there is to say, and hears one message.
    fn turn(&mut self) -> Option<Wanted> {
        self.say();
        match read_message(&self.channel).unwrap() {
            GuestMessage::Network(message) => self.streams.receive(message).unwrap(),
            GuestMessage::Records { records, .. } => {
                self.records += records.len() as u64;
                None
            }
            _ => None,
        }
    }

    fn say(&mut self) {
        while let Some(message) = self.streams.say() {
            write_message(&self.channel, &HostMessage::Network(message)).unwrap();
        }
    }

    fn wanted(&mut self) -> Wanted {
        loop {
            if let Some(wanted) = self.turn() {
                return wanted;
            }
        }
    }

    fn accept(&mut self) -> Wanted {
        let wanted = self.wanted();
        self.streams.opened(wanted.stream);
        self.say();
        wanted
    }

    /// What comes of a stream until it has this many bytes, or ends.
    fn receive(&mut self, id: u32, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.streams.read(id) {
                Read::Data(more) => bytes.extend(more),
                Read::Wait => drop(self.turn()),
                Read::End | Read::Reset(_) => break,
            }
        }
        bytes
    }

    fn send(&mut self, id: u32, bytes: &[u8]) {
        for chunk in bytes.chunks(limits::STREAM_CHUNK) {
            while self.streams.write(id, chunk) == Write::Wait {
                self.turn();
            }
        }
        self.say();
    }
}

fn rest(mut client: TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

fn expect(client: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[test]
fn a_tunnel_passes_bytes_on_in_both_directions() {
    let mut scene = Scene::new();
    let mut client = scene.client("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\nearly");
    let wanted = scene.accept();
    assert_eq!((wanted.host.as_str(), wanted.port), ("example.org", 443));
    expect(&mut client, ESTABLISHED);
    client.write_all(b" and late").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(scene.receive(wanted.stream, usize::MAX), b"early and late");
    scene.send(wanted.stream, b"answer");
    scene.streams.end(wanted.stream);
    scene.say();
    assert_eq!(rest(client), "answer");
}

#[test]
fn a_plain_request_goes_to_the_host_of_its_address() {
    let mut scene = Scene::new();
    let client = scene
        .client("GET http://[2001:db8::1]:8080/a HTTP/1.1\r\nHost: other\r\nProxy-Connection: x\r\n\r\n");
    let wanted = scene.accept();
    assert_eq!((wanted.host.as_str(), wanted.port), ("2001:db8::1", 8080));
    let head = "GET /a HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(scene.receive(wanted.stream, head.len())).unwrap(), head);
    scene.send(wanted.stream, b"HTTP/1.1 200 OK\r\n\r\nhello");
    scene.streams.end(wanted.stream);
    scene.say();
    assert_eq!(rest(client), "HTTP/1.1 200 OK\r\n\r\nhello");
}

#[test]
fn a_refusal_is_an_answer_with_a_sentence() {
    for (why, status) in [
        (Why::Refused, "403 Forbidden"),
        (Why::Unreachable, "502 Bad Gateway"),
        (Why::Limit, "503 Service Unavailable"),
    ] {
        for request in
            ["CONNECT example.org:443 HTTP/1.1\r\n\r\n", "GET http://example.org/ HTTP/1.0\r\n\r\n"]
        {
            let mut scene = Scene::new();
            let client = scene.client(request);
            let wanted = scene.wanted();
            scene.streams.reset(wanted.stream, Reset { why, words: "because of the moon".to_owned() });
            scene.say();
            let answer = rest(client);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            assert!(answer.ends_with("\r\n\r\nbecause of the moon\n"), "{answer}");
        }
    }
}

#[test]
fn whoever_takes_it_for_a_web_server_is_told_what_it_is() {
    let scene = Scene::new();
    let answer = rest(scene.client("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("proxy to the network"), "{answer}");
    let answer = rest(scene.client(&format!("GET http://a/ HTTP/1.1\r\nA: {}", "x".repeat(70_000))));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// One client reads nothing of a large answer. Others, and records, go on; and
/// what waits for it is bounded.
#[test]
fn a_client_that_stalls_holds_up_nobody() {
    let mut scene = Scene::new();
    let _stalled = scene.client("CONNECT large.example:443 HTTP/1.1\r\n\r\n");
    let large = scene.accept().stream;
    // As much as goes: the window, and what the kernel's sockets hold.
    let mut sent = 0;
    let mut other = scene.client("CONNECT small.example:443 HTTP/1.1\r\n\r\n");
    let small = loop {
        if scene.streams.write(large, &[7; limits::STREAM_CHUNK]) == Write::Taken {
            sent += limits::STREAM_CHUNK;
        }
        if let Some(wanted) = scene.turn() {
            break wanted.stream;
        }
    };
    scene.streams.opened(small);
    scene.say();
    expect(&mut other, ESTABLISHED);
    let span = scene.recorder.open(None, NewSpan::new(devenv_cloud_guest::protocol::SpanKind::Task, "t"));
    for round in 0..50 {
        other.write_all(b"ping").unwrap();
        assert_eq!(scene.receive(small, 4), b"ping");
        scene.send(small, b"pong");
        expect(&mut other, "pong");
        span.say(format!("round {round}"));
        if scene.streams.write(large, &[7; limits::STREAM_CHUNK]) == Write::Taken {
            sent += limits::STREAM_CHUNK;
        }
    }
    span.close(Outcome::Success);
    while scene.records < 52 {
        scene.turn();
    }
    // Kernel buffers of loopback sockets are a few MiB at most.
    assert!(sent < 32 << 20, "{sent} bytes were taken for a client that reads nothing");
}

#[test]
fn many_clients_at_once_all_get_their_answer() {
    let mut scene = Scene::new();
    let proxy = scene.proxy;
    let count = limits::STREAMS + 40;
    let clients: Vec<_> = (0..count)
        .map(|number| {
            thread::spawn(move || {
                let mut client = TcpStream::connect(proxy).unwrap();
                write!(client, "GET http://host-{number}.example/ HTTP/1.1\r\n\r\n").unwrap();
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                assert_eq!(text, format!("host-{number}.example"));
            })
        })
        .collect();
    let mut hosts = HashMap::new();
    let mut open = Vec::new();
    while hosts.len() < count || !open.is_empty() {
        if let Some(wanted) = scene.turn() {
            let id = wanted.stream;
            scene.streams.opened(id);
            assert_eq!(scene.streams.write(id, wanted.host.as_bytes()), Write::Taken);
            scene.streams.end(id);
            hosts.insert(wanted.host, id);
            open.push(id);
        }
        assert!(open.len() <= limits::STREAMS);
        open.retain(|&id| {
            loop {
                match scene.streams.read(id) {
                    Read::Data(_) => {}
                    Read::Wait => break true,
                    Read::End => {
                        scene.streams.close(id);
                        break false;
                    }
                    Read::Reset(reset) => panic!("{reset:?}"),
                }
            }
        });
    }
    scene.say();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn clients_see_the_end_of_the_job() {
    let mut scene = Scene::new();
    let mut client = scene.client("CONNECT example.org:443 HTTP/1.1\r\n\r\n");
    scene.accept();
    expect(&mut client, ESTABLISHED);
    let waiting = scene.client("CONNECT waiting.example:443 HTTP/1.1\r\n\r\n");
    scene.wanted();
    drop(scene.channel);
    assert_eq!(rest(client), "");
    assert!(rest(waiting).contains("the job is over"));
}

#[test]
fn nothing_follows_the_end_of_a_job() {
    let mut scene = Scene::new();
    let client = scene.client("CONNECT example.org:443 HTTP/1.1\r\n\r\n");
    scene.accept();
    let finished =
        Finished { outcome: Outcome::Success, reason: String::new(), exit_status: Some(0), dropped_lines: 0 };
    scene.recorder.finish(finished.clone());
    loop {
        match read_message(&scene.channel).unwrap() {
            GuestMessage::Finished(end) => break assert_eq!(end, finished),
            GuestMessage::Network(_) | GuestMessage::Alive => {}
            other => panic!("{other:?}"),
        }
    }
    drop(client);
    scene.channel.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(read_message::<GuestMessage>(&scene.channel).is_err(), "the end is the end");
}

const SHOW: &str = r#"{ tasks."t:env".exec = "env | grep -i proxy | sort || true"; }"#;

#[test]
fn commands_are_told_of_the_proxy_if_there_is_a_network() {
    let trace = Ground::new().begin(&commit(&[("devenv.nix", SHOW)]), |job| job.network = true).finish();
    let lines = trace.lines("t:env");
    let proxy = lines.iter().find_map(|line| line.strip_prefix("http_proxy=")).expect("there is a proxy");
    assert!(proxy.starts_with("http://127.0.0.1:"), "{proxy}");
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        assert!(lines.contains(&format!("{name}={proxy}").as_str()), "{name}: {lines:?}");
    }
    for name in ["no_proxy", "NO_PROXY"] {
        assert!(lines.contains(&format!("{name}=localhost,127.0.0.1,::1").as_str()), "{name}: {lines:?}");
    }
    assert!(trace.messages().iter().all(|(level, ..)| *level != Level::Warning));
}

#[test]
fn without_a_network_commands_know_of_no_proxy() {
    let trace = Ground::new().begin(&commit(&[("devenv.nix", SHOW)]), |_| {}).finish();
    assert_eq!(trace.lines("t:env"), [""; 0]);
}

#[test]
fn a_command_reaches_the_network_through_the_host() {
    let nix = r#"{ tasks."t:get".exec = ''
      exec 3<>/dev/tcp/127.0.0.1/''${http_proxy##*:}
      printf 'GET http://example.org/x HTTP/1.1\r\n\r\n' >&3
      cat <&3
    ''; }"#;
    let mut host = Ground::new().begin(&commit(&[("devenv.nix", nix)]), |job| job.network = true);
    let mut streams = Streams::new(Side::Host);
    while host.network.is_empty() {
        assert_eq!(host.next(), None);
    }
    for message in std::mem::take(&mut host.network) {
        if let Some(wanted) = streams.receive(message).unwrap() {
            streams.opened(wanted.stream);
            streams.write(wanted.stream, b"hello from outside\n");
            streams.end(wanted.stream);
        }
    }
    while let Some(message) = streams.say() {
        host.send(&HostMessage::Network(message));
    }
    let trace = host.finish().succeeded();
    assert_eq!(trace.lines("t:get"), ["hello from outside"]);
}

#[test]
fn the_largest_chunk_fits_a_frame() {
    let message = Network::Data { stream: u32::MAX, bytes: vec![0xff; limits::STREAM_CHUNK] };
    let bytes = devenv_cloud_guest::protocol::encode(&GuestMessage::Network(message)).unwrap();
    assert!(bytes.len() < limits::FRAME / 16);
}
