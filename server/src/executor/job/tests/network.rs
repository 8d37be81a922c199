//! Jobs that use the network, and guests that misuse it.

use std::net::IpAddr;

use devenv_cloud_api::orgs::NetworkPolicy;
use devenv_cloud_guest::{
    protocol::{self, GuestMessage, HostMessage, Network, Outcome, Why, limits},
    streams::{Read, Side, Streams},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::NETWORK_SPAN,
    ends,
    fake::{Guest, Played, Scene},
};
use crate::{
    executor::{Egress, egress::tests::FakeOutside},
    telemetry::{JOB_SPAN, Record},
};

fn open(stream: u32, host: &str) -> GuestMessage {
    GuestMessage::Network(Network::Open { stream, host: host.to_owned(), port: 80 })
}

impl Guest {
    /// The next message about a stream.
    async fn network(&mut self) -> Network {
        loop {
            match self.receive().await.expect("the host is there") {
                HostMessage::Network(message) => return message,
                HostMessage::Acknowledge(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn attribute<'a>(played: &'a Played, key: &str) -> Option<&'a str> {
    played.records.iter().find_map(|record| match record {
        Record::Closed { id, attributes, .. } if *id == NETWORK_SPAN => {
            attributes.get(key).map(String::as_str)
        }
        _ => None,
    })
}

fn warnings(played: &Played) -> Vec<&str> {
    let lines = played.records.iter().filter_map(|record| match record {
        Record::Line { span, text, .. } if *span == NETWORK_SPAN => Some(text.as_str()),
        _ => None,
    });
    lines.collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_job_reached_is_in_its_trace() {
    let (outside, mut servers) = FakeOutside::new();
    outside.name("example.org", &["93.184.215.14"]);
    let mut scene = Scene::new();
    scene.egress = Egress::to(outside, &[]);
    scene.assignment.network.policy = NetworkPolicy::Internet;
    tokio::spawn(async move {
        let (address, mut server) = servers.recv().await.unwrap();
        assert_eq!(address.ip(), "93.184.215.14".parse::<IpAddr>().unwrap());
        let mut asked = [0; 5];
        server.read_exact(&mut asked).await.unwrap();
        server.write_all(b"answer").await.unwrap();
    });
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            assert!(guest.job.as_ref().unwrap().network, "commands are told of the proxy");
            let mut streams = Streams::new(Side::Guest);
            let id = streams.open("example.org", 80).unwrap();
            streams.write(id, b"hello");
            let mut answer = Vec::new();
            loop {
                while let Some(message) = streams.say() {
                    guest.send(&GuestMessage::Network(message)).await;
                }
                match streams.read(id) {
                    Read::Data(bytes) => answer.extend(bytes),
                    Read::End => break,
                    Read::Wait => drop(streams.receive(guest.network().await).unwrap()),
                    Read::Reset(reset) => panic!("{reset:?}"),
                }
            }
            assert_eq!(answer, b"answer");
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end().1, "");
    ends(&played);
    assert_eq!(
        attribute(&played, "devenv_cloud.network.host.example.org:80"),
        Some("1 connection, sent 5 B, received 6 B")
    );
    assert_eq!(attribute(&played, "devenv_cloud.network.io.receive"), Some("6"));
    let parent = played.records.iter().find_map(|record| match record {
        Record::Opened { id, parent, .. } if *id == NETWORK_SPAN => *parent,
        _ => None,
    });
    assert_eq!(parent, Some(JOB_SPAN));
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_network_is_told_so_and_its_trace_says_it() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            assert!(!guest.job.as_ref().unwrap().network);
            for stream in 1..=3 {
                guest.send(&open(stream, "example.org")).await;
                let Network::Reset { stream: reset, why, words } = guest.network().await else {
                    panic!("it was not refused")
                };
                assert_eq!((reset, why), (stream, Why::Refused));
                assert!(words.contains("settings, Network"), "{words}");
            }
            guest.finish(Outcome::Failure, Some(1), "curl failed").await;
        })
        .await;
    assert_eq!(played.end().1, "curl failed");
    ends(&played);
    let warnings = warnings(&played);
    assert_eq!(warnings.len(), 1, "once for each host: {warnings:?}");
    assert!(warnings[0].contains("no connection to example.org:80: the network policy"), "{warnings:?}");
    assert_eq!(attribute(&played, "devenv_cloud.network.connection.refused"), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_use_the_network_has_no_span_of_it() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    let network = |record: &Record| matches!(record, Record::Opened { id, .. } if *id == NETWORK_SPAN);
    assert!(!played.records.iter().any(network));
}

#[tokio::test(start_paused = true)]
async fn forged_frames_about_streams_end_the_job() {
    let data = |stream, bytes| GuestMessage::Network(Network::Data { stream, bytes: vec![0; bytes] });
    let credit = |stream, bytes| GuestMessage::Network(Network::Credit { stream, bytes });
    let end = |stream| GuestMessage::Network(Network::End { stream });
    let many = (1..=129).map(|stream| open(stream, "example.org")).collect();
    for (messages, words) in [
        (vec![data(1, 1)], "spoke of stream 1, which it never opened"),
        (vec![credit(7, 1)], "spoke of stream 7, which it never opened"),
        (vec![end(1)], "spoke of stream 1, which it never opened"),
        (
            vec![GuestMessage::Network(Network::Opened { stream: 1 })],
            "spoke of stream 1, which it never opened",
        ),
        (vec![open(1, "a"), open(1, "a")], "opened stream 1 after stream 1"),
        (vec![open(1, "")], "a host whose name has 0 bytes"),
        (vec![open(1, &"x".repeat(300))], "a host whose name has 300 bytes"),
        (vec![open(1, "a"), data(1, 0)], "0 bytes of a stream in one frame"),
        (vec![open(1, "a"), data(1, limits::STREAM_CHUNK + 1)], "32769 bytes of a stream in one frame"),
        (
            (0..6).map(|n| if n == 0 { open(1, "a") } else { data(1, limits::STREAM_CHUNK) }).collect(),
            "than it had credit",
        ),
        (vec![open(1, "a"), credit(1, u32::MAX)], "more credit than there may be"),
        (vec![open(1, "a"), end(1), data(1, 1)], "after its end"),
        (many, "had more than 128 streams open"),
    ] {
        let played = Scene::new()
            .play(move |mut guest: Guest| async move {
                guest.take_job().await;
                for message in &messages {
                    guest.raw(&protocol::encode(message).unwrap()).await;
                }
                guest.until_hung_up().await;
            })
            .await;
        let (state, reason) = played.end();
        assert_eq!(state, devenv_cloud_api::runs::State::Error, "{words}");
        assert!(
            reason.starts_with("the machine broke the protocol: it ") && reason.contains(words),
            "{reason}"
        );
        assert!(played.killed);
        ends(&played);
    }
}

#[tokio::test(start_paused = true)]
async fn the_network_before_the_machine_is_ready_is_refused() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.hello().await;
            guest.send(&open(1, "example.org")).await;
            guest.until_hung_up().await;
        })
        .await;
    assert!(played.end().1.contains("asked for the network before it was ready"), "{:?}", played.end());
}
