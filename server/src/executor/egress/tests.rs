//! One job's streams against hosts that are made up.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use devenv_cloud_api::orgs::NetworkPolicy;
use devenv_cloud_guest::{
    protocol::{self, Why, limits},
    streams::{Opening, Read, Side, Streams, Write},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{Destination, Egress, JobNetwork, Network, Outside, outside::Connection};

/// What a connection holds before its writer must wait.
const PIPE: usize = 64 << 10;

/// A world with these names. Every address can be connected to.
#[derive(Default)]
pub(crate) struct FakeOutside {
    /// What each name's addresses are, each time it is resolved; the last answer stays.
    names: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    pub(crate) lookups: Mutex<Vec<String>>,
    pub(crate) connected: Mutex<Vec<SocketAddr>>,
    servers: Mutex<Option<mpsc::UnboundedSender<(SocketAddr, DuplexStream)>>>,
    /// Nobody answers.
    pub(crate) silent: bool,
}

impl FakeOutside {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<(SocketAddr, DuplexStream)>) {
        let (sender, servers) = mpsc::unbounded_channel();
        (Arc::new(Self { servers: Mutex::new(Some(sender)), ..Self::default() }), servers)
    }

    pub(crate) fn name(&self, name: &str, answers: &[&str]) {
        let answers = answers.iter().map(|answer| answer.split(' ').map(|a| a.parse().unwrap()).collect());
        self.names.lock().unwrap().insert(name.to_owned(), answers.collect());
    }
}

#[async_trait]
impl Outside for FakeOutside {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.lock().unwrap().push(name.to_owned());
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(name).ok_or_else(|| io::Error::other("there is no such name"))?;
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        self.connected.lock().unwrap().push(address);
        if self.silent {
            std::future::pending::<()>().await;
        }
        let (ours, theirs) = duplex(PIPE);
        let servers = self.servers.lock().unwrap().clone();
        servers.unwrap().send((address, theirs)).map_err(io::Error::other)?;
        Ok(Box::new(ours))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address == "9.9.9.9".parse::<IpAddr>().unwrap()
    }
}

/// A job, with the guest's end of its streams.
struct Scene {
    outside: Arc<FakeOutside>,
    servers: mpsc::UnboundedReceiver<(SocketAddr, DuplexStream)>,
    job: JobNetwork,
    guest: Streams,
}

fn scene(policy: NetworkPolicy, hosts: &[&str], internal: &[&str]) -> Scene {
    let (outside, servers) = FakeOutside::new();
    with(outside, servers, policy, hosts, internal)
}

fn with(
    outside: Arc<FakeOutside>,
    servers: mpsc::UnboundedReceiver<(SocketAddr, DuplexStream)>,
    policy: NetworkPolicy,
    hosts: &[&str],
    internal: &[&str],
) -> Scene {
    let internal: Vec<_> = internal.iter().map(|text| Destination::parse(text).unwrap()).collect();
    let egress = Egress::to(outside.clone(), &internal);
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    let job = JobNetwork::new(&egress, &Network { policy, hosts });
    Scene { outside, servers, job, guest: Streams::new(Side::Guest) }
}

fn internet() -> Scene {
    scene(NetworkPolicy::Internet, &[], &[])
}

impl Scene {
    fn say(&mut self) {
        while let Some(message) = self.guest.say() {
            self.job.receive(message).unwrap();
        }
    }

    /// Says what there is, and hears one message.
    async fn turn(&mut self) {
        self.say();
        let message = self.job.next().await;
        self.guest.receive(message).unwrap();
    }

    async fn open(&mut self, host: &str, port: u16) -> (u32, Result<(), (Why, String)>) {
        let id = self.guest.open(host, port).unwrap();
        loop {
            match self.guest.opening(id) {
                Opening::Opened => return (id, Ok(())),
                Opening::Reset(reset) => {
                    self.guest.close(id);
                    self.say();
                    return (id, Err((reset.why, reset.words)));
                }
                Opening::Wait => self.turn().await,
            }
        }
    }

    async fn opened(&mut self, host: &str, port: u16) -> (u32, SocketAddr, DuplexStream) {
        let (id, result) = self.open(host, port).await;
        result.unwrap();
        let (address, server) = self.servers.recv().await.unwrap();
        (id, address, server)
    }

    async fn refused(&mut self, host: &str, port: u16) -> String {
        let (_, result) = self.open(host, port).await;
        let (why, words) = result.expect_err(host);
        assert_eq!(why, Why::Refused, "{host}: {words}");
        words
    }
}

#[tokio::test]
async fn bytes_reach_a_public_host_and_come_back_and_are_counted() {
    let mut scene = internet();
    scene.outside.name("example.org", &["93.184.215.14"]);
    let (id, address, mut server) = scene.opened("Example.ORG.", 443).await;
    assert_eq!(address, "93.184.215.14:443".parse().unwrap());
    assert_eq!(scene.guest.write(id, b"hello"), Write::Taken);
    scene.guest.end(id);
    scene.say();
    let mut asked = String::new();
    server.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "hello");
    server.write_all(b"hello yourself").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    loop {
        match scene.guest.read(id) {
            Read::Data(bytes) => answer.extend(bytes),
            Read::End => break,
            Read::Wait => scene.turn().await,
            Read::Reset(reset) => panic!("{reset:?}"),
        }
    }
    assert_eq!(answer, b"hello yourself");
    let attributes = scene.job.attributes();
    assert_eq!(
        attributes["devenv_cloud.network.host.example.org:443"],
        "1 connection, sent 5 B, received 14 B"
    );
    assert_eq!(scene.job.news(), [""; 0]);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_however_they_are_written() {
    let mut scene = internet();
    scene.outside.name("localhost", &["127.0.0.1 ::1"]);
    scene.outside.name("intranet.example", &["192.168.1.1"]);
    scene.outside.name("metadata.example", &["169.254.169.254"]);
    scene.outside.name("me.example", &["9.9.9.9"]);
    for (host, words) in [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("localhost", "loopback"),
        ("169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("metadata.example", "metadata"),
        ("10.0.0.1", "private"),
        ("intranet.example", "private"),
        ("64:ff9b::10.0.0.1", "private"),
        ("9.9.9.9", "runs the jobs"),
        ("me.example", "runs the jobs"),
        ("127.1", "neither"),
        ("0x7f.0.0.1", "neither"),
        ("2130706433", "neither"),
        ("a b", "neither"),
        ("fe80::1%eth0", "neither"),
    ] {
        let said = scene.refused(host, 80).await;
        assert!(said.contains(words), "{host}: {said}");
    }
    assert_eq!(scene.outside.connected.lock().unwrap().len(), 0);
    let news = scene.job.news();
    assert_eq!(news.len(), 16, "one line for each host: {news:?}");
    assert!(news[0].starts_with("warning: no connection to 127.0.0.1:80: "), "{}", news[0]);
}

#[tokio::test]
async fn a_name_that_changes_its_address_gets_nowhere() {
    let mut scene = internet();
    scene.outside.name("rebind.example", &["93.184.215.14", "127.0.0.1"]);
    // What was checked is what is connected to, though the next answer differs.
    let (_, address, _server) = scene.opened("rebind.example", 80).await;
    assert_eq!(address.ip(), "93.184.215.14".parse::<IpAddr>().unwrap());
    // A redirect to the same name is a stream of its own, and checked anew.
    assert!(scene.refused("rebind.example", 80).await.contains("loopback"));
    assert_eq!(scene.outside.lookups.lock().unwrap().len(), 2, "once for each stream");
    assert_eq!(scene.outside.connected.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn of_mixed_answers_only_public_addresses_are_tried() {
    let mut scene = internet();
    scene.outside.name("mixed.example", &["10.0.0.1 127.0.0.1 93.184.215.14 ::1"]);
    let (_, address, _server) = scene.opened("mixed.example", 443).await;
    assert_eq!(address.ip(), "93.184.215.14".parse::<IpAddr>().unwrap());
}

#[tokio::test]
async fn an_allow_list_reaches_its_hosts_and_they_must_be_public() {
    let mut scene =
        scene(NetworkPolicy::AllowList, &["*.example.org", "inside.example"], &["127.0.0.1:9000"]);
    scene.outside.name("www.example.org", &["93.184.215.14"]);
    scene.outside.name("inside.example", &["10.0.0.7"]);
    scene.opened("www.example.org", 443).await;
    assert!(scene.refused("example.com", 443).await.contains("not among the hosts"));
    assert!(scene.refused("www.example.org", 22).await.contains("not among the hosts"));
    assert!(scene.refused("inside.example", 443).await.contains("executor.network_internal"));
    // An administrator has named it.
    let (_, address, _server) = scene.opened("127.0.0.1", 9000).await;
    assert_eq!(address, "127.0.0.1:9000".parse().unwrap());
    assert!(scene.refused("127.0.0.1", 9001).await.contains("not among the hosts"));
    // What is refused by its name is not even resolved.
    let lookups = scene.outside.lookups.lock().unwrap().clone();
    assert_eq!(lookups, ["www.example.org", "inside.example"]);
}

#[tokio::test]
async fn with_the_policy_off_nothing_is_resolved_or_reached() {
    let mut scene = scene(NetworkPolicy::Off, &["example.org"], &["cache.corp:443"]);
    for host in ["example.org", "cache.corp", "93.184.215.14"] {
        let words = scene.refused(host, 443).await;
        assert!(words.contains("the network policy of this project is off"), "{words}");
    }
    assert_eq!(scene.outside.lookups.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_name_that_is_none_is_unreachable() {
    let mut scene = internet();
    let (_, result) = scene.open("nowhere.example", 443).await;
    let (why, words) = result.unwrap_err();
    assert_eq!(why, Why::Unreachable);
    assert!(words.contains("cannot be resolved: there is no such name"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_is_given_up_or_may_be() {
    let (outside, servers) = FakeOutside::new();
    let outside = Arc::new(FakeOutside { silent: true, ..Arc::into_inner(outside).unwrap() });
    let mut scene = with(outside, servers, NetworkPolicy::Internet, &[], &[]);
    let began = Instant::now();
    let (_, result) = scene.open("93.184.215.14", 443).await;
    assert!(result.unwrap_err().1.contains("no answer within 15 s"));
    assert_eq!(began.elapsed().as_secs(), 15);
    // Nobody wants it any more.
    let id = scene.guest.open("93.184.215.14", 80).unwrap();
    scene.say();
    sleep(Duration::from_secs(1)).await;
    scene.guest.close(id);
    scene.turn().await;
    assert_eq!(scene.guest.open_count(), 0);
    assert_eq!(began.elapsed().as_secs(), 16);
}

/// A host that takes nothing: the guest may send a window, and what it sends
/// beyond is an offence.
#[tokio::test]
async fn a_host_that_stalls_stops_its_stream_and_no_other() {
    let mut scene = internet();
    let (stalled, _, _server) = scene.opened("1.1.1.1", 80).await;
    let (other, _, mut echo) = scene.opened("1.0.0.1", 80).await;
    let mut taken = 0;
    // Until nothing moves any more: the pipe, one frame in the task's hands, the window.
    for _ in 0..200 {
        if scene.guest.write(stalled, &[0; limits::STREAM_CHUNK]) == Write::Taken {
            taken += limits::STREAM_CHUNK;
        }
        scene.say();
        // Meanwhile the other goes on.
        assert_eq!(scene.guest.write(other, b"ping"), Write::Taken);
        scene.say();
        let mut bytes = [0; 4];
        echo.read_exact(&mut bytes).await.unwrap();
        while let Ok(message) = timeout(Duration::from_millis(1), scene.job.next()).await {
            scene.guest.receive(message).unwrap();
        }
    }
    assert!(taken <= PIPE + limits::STREAM_WINDOW as usize + 3 * limits::STREAM_CHUNK, "{taken}");
    assert!(scene.job.waiting_bytes() <= limits::STREAM_WINDOW as usize);
    let forged = protocol::Network::Data { stream: stalled, bytes: vec![0; limits::STREAM_CHUNK] };
    let violation = (0..4).find_map(|_| scene.job.receive(forged.clone()).err()).unwrap();
    assert!(violation.to_string().contains("more of stream 1 than it had credit for"), "{violation}");
}

/// A guest that listens to nothing: what a host sends stays with the host.
#[tokio::test]
async fn a_guest_that_stalls_leaves_bytes_where_they_are() {
    let mut scene = internet();
    let (_, _, mut server) = scene.opened("1.1.1.1", 80).await;
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(200), server.write(&[0; 4096])).await {
        sent += written.unwrap();
    }
    assert!(sent <= PIPE + 3 * limits::STREAM_CHUNK, "{sent}");
    // Listening without taking anything out of it: the window, and no more.
    while let Ok(message) = timeout(Duration::from_millis(200), scene.job.next()).await {
        scene.guest.receive(message).unwrap();
        while let Ok(written) = timeout(Duration::from_millis(20), server.write(&[0; 4096])).await {
            sent += written.unwrap();
        }
    }
    assert!(sent <= PIPE + limits::STREAM_WINDOW as usize + 3 * limits::STREAM_CHUNK, "{sent}");
    assert!(scene.job.waiting_bytes() <= 2 * limits::STREAM_CHUNK);
}

#[tokio::test]
async fn streams_die_with_the_job() {
    let mut scene = internet();
    let (_, _, mut server) = scene.opened("1.1.1.1", 80).await;
    scene.job.stop();
    assert_eq!(timeout(Duration::from_secs(10), server.read(&mut [0])).await.unwrap().unwrap(), 0);
    // And none is begun after it.
    scene.guest.open("1.1.1.1", 81).unwrap();
    scene.say();
    tokio::task::yield_now().await;
    assert_eq!(scene.outside.connected.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_host_that_breaks_off_is_said_to_have() {
    let mut scene = internet();
    let (id, _, server) = scene.opened("1.1.1.1", 80).await;
    drop(server);
    loop {
        match scene.guest.write(id, &[0; limits::STREAM_CHUNK]) {
            Write::Over(reset) => break assert!(reset.words.contains("1.1.1.1:80 broke"), "{reset:?}"),
            _ => scene.turn().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_opens_and_gives_up_without_end_is_stopped() {
    let scene = internet();
    let mut stopped = None;
    for stream in 1..10_000 {
        let open = protocol::Network::Open { stream, host: "1.1.1.1".into(), port: 80 };
        let reset = protocol::Network::Reset { stream, why: Why::Broken, words: String::new() };
        if let Err(violation) = scene.job.receive(open).and_then(|()| scene.job.receive(reset)) {
            stopped = Some((stream, violation));
            break;
        }
        // It listens, too.
        while timeout(Duration::from_millis(1), scene.job.next()).await.is_ok() {}
    }
    let (stream, violation) = stopped.unwrap();
    assert!(violation.contains("opened more than 50 streams a second"), "{violation}");
    assert!((3_000..5_000).contains(&stream), "{stream}");
}

#[tokio::test(start_paused = true)]
async fn many_streams_in_a_short_time_wait_for_their_turn() {
    let mut scene = internet();
    let began = Instant::now();
    for _ in 0..300 {
        let (id, _, server) = scene.opened("1.1.1.1", 80).await;
        drop(server);
        scene.guest.close(id);
        while scene.guest.open_count() > 0 {
            scene.turn().await;
        }
    }
    // Two hundred at once, then fifty each second.
    let took = began.elapsed().as_millis();
    assert!((1900..=2200).contains(&took), "{took} ms");
}
