//! What the two sides owe each other before and besides a job.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use devenv_cloud_guest::{
    protocol::{
        FrameError, GuestMessage, HostMessage, Record, read_hello, read_message, write_hello, write_message,
    },
    session::{self, SessionError},
};

use crate::host::{Given, Ground, commit, prepare};

fn speak(talk: impl FnOnce(&UnixStream)) -> SessionError {
    let ground = Ground::new();
    let (host, guest) = UnixStream::pair().unwrap();
    let reader = guest.try_clone().unwrap();
    let world = ground.world.clone();
    let session = thread::spawn(move || session::run(reader, guest, Given(world)));
    talk(&host);
    let error = session.join().unwrap().unwrap_err();
    drop(host);
    error
}

#[test]
fn another_version_is_refused() {
    let error = speak(|mut host| host.write_all(b"dvc\n\xff\xff\0\0").unwrap());
    assert!(matches!(error, SessionError::Frame(FrameError::Version { theirs: 0xffff })), "{error}");
}

#[test]
fn a_job_before_the_preparation_is_refused() {
    let error = speak(|host| {
        write_hello(host).unwrap();
        read_hello(host).unwrap();
        write_message(host, &HostMessage::SourceEnd).unwrap();
    });
    assert!(matches!(error, SessionError::OutOfOrder("SourceEnd")), "{error}");
}

#[test]
fn a_machine_is_warmed_up_as_often_as_one_likes_and_greeted_anew_each_time() {
    let error = speak(|host| {
        for (rounds, problem) in [(2, None), (0, Some("nothing to do".to_owned()))] {
            write_hello(host).unwrap();
            read_hello(host).unwrap();
            write_message(host, &HostMessage::Warm { rounds }).unwrap();
            assert_eq!(read_message::<GuestMessage>(host).unwrap(), GuestMessage::Warmed { problem });
        }
        write_hello(host).unwrap();
        read_hello(host).unwrap();
        write_message(host, &prepare()).unwrap();
        assert_eq!(read_message::<GuestMessage>(host).unwrap(), GuestMessage::Ready);
        write_message(host, &HostMessage::Warm { rounds: 1 }).unwrap();
    });
    assert!(matches!(error, SessionError::OutOfOrder("Warm")), "{error}");
}

#[test]
fn a_host_that_hangs_up_before_the_job_ends_the_session() {
    let error = speak(|host| {
        write_hello(host).unwrap();
        write_message(host, &prepare()).unwrap();
        host.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert!(matches!(error, SessionError::Frame(FrameError::Io(_))), "{error}");
}

#[test]
fn a_host_that_hangs_up_during_the_job_ends_the_session() {
    let nix = r#"{ tasks."a:x".exec = "echo up; exec sleep 1000"; }"#;
    let mut host = Ground::new().begin(&commit(&[("devenv.nix", nix)]), |_| {});
    host.wait_for(|record| matches!(record, Record::Line { text, .. } if text == "up"));
    let error = host.hang_up();
    assert!(matches!(error, SessionError::HungUp), "{error}");
}

#[test]
fn the_channel_stays_silent_after_the_end() {
    let mut channel = Ground::new().begin(&commit(&[("devenv.nix", "{ }")]), |_| {}).finish_but_keep();
    channel.set_nonblocking(true).unwrap();
    let more = channel.read(&mut [0; 1]);
    // Nothing, or already closed.
    assert!(matches!(&more, Ok(0)) || more.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}
