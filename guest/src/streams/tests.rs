//! Two ends that hear each other at once, late, or not at all; and a guest that
//! does what it may not.

use super::*;

/// Both ends, and what they have said that was not heard yet.
struct Pair {
    guest: Streams,
    host: Streams,
    to_host: VecDeque<Network>,
    to_guest: VecDeque<Network>,
}

impl Pair {
    fn new() -> Self {
        Self {
            guest: Streams::new(Side::Guest),
            host: Streams::new(Side::Host),
            to_host: VecDeque::new(),
            to_guest: VecDeque::new(),
        }
    }

    /// Lets both say all that they have, without being heard.
    fn say(&mut self) {
        self.to_host.extend(std::iter::from_fn(|| self.guest.say()));
        self.to_guest.extend(std::iter::from_fn(|| self.host.say()));
    }

    /// Until there is nothing left to say or hear; gives whom the guest wants.
    fn settle(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        loop {
            self.say();
            if self.to_host.is_empty() && self.to_guest.is_empty() {
                return wanted;
            }
            for message in std::mem::take(&mut self.to_host) {
                wanted.extend(self.host.receive(message).unwrap());
            }
            for message in std::mem::take(&mut self.to_guest) {
                self.guest.receive(message).unwrap();
            }
        }
    }

    /// A stream that is open.
    fn open(&mut self) -> u32 {
        let id = self.guest.open("example.org", 443).unwrap();
        let wanted = self.settle();
        assert_eq!(wanted, [Wanted { stream: id, host: "example.org".into(), port: 443 }]);
        self.host.opened(id);
        self.settle();
        assert_eq!(self.guest.opening(id), Opening::Opened);
        id
    }

    fn is_empty(&self) -> bool {
        self.guest.streams.is_empty() && self.host.streams.is_empty()
    }
}

/// Writes until there is no more room; gives how much was taken.
fn fill(pair: &mut Pair, id: u32) -> usize {
    let mut bytes = 0;
    loop {
        match pair.guest.write(id, &[7; limits::STREAM_CHUNK]) {
            Write::Taken => bytes += limits::STREAM_CHUNK,
            Write::Wait => return bytes,
            Write::Over(reset) => panic!("{reset:?}"),
        }
        pair.settle();
    }
}

fn broken(words: &str) -> Reset {
    Reset { why: Why::Broken, words: words.to_owned() }
}

#[test]
fn bytes_go_both_ways_and_both_ends_end() {
    let mut pair = Pair::new();
    let id = pair.open();
    assert_eq!(pair.guest.write(id, b"hello"), Write::Taken);
    pair.guest.end(id);
    pair.settle();
    assert_eq!(pair.host.read(id), Read::Data(b"hello".to_vec()));
    assert_eq!(pair.host.read(id), Read::End);
    assert_eq!(pair.host.write(id, b"world"), Write::Taken);
    pair.host.end(id);
    pair.settle();
    pair.host.close(id);
    assert_eq!(pair.guest.read(id), Read::Data(b"world".to_vec()));
    assert_eq!(pair.guest.read(id), Read::End);
    pair.guest.close(id);
    pair.settle();
    assert!(pair.is_empty());
}

#[test]
fn a_reader_that_stalls_stops_its_writer_and_nobody_else() {
    let mut pair = Pair::new();
    let (stalled, other) = (pair.open(), pair.open());
    let taken = fill(&mut pair, stalled);
    assert!(taken <= limits::STREAM_WINDOW as usize + 2 * limits::STREAM_CHUNK, "{taken}");
    assert_eq!(pair.host.waiting_bytes(), limits::STREAM_WINDOW as usize);
    for _ in 0..100 {
        assert_eq!(pair.guest.write(other, &[1; 1000]), Write::Taken);
        pair.settle();
        assert!(matches!(pair.host.read(other), Read::Data(bytes) if bytes.len() == 1000));
    }
    // Once it reads, the rest comes.
    let mut read = 0;
    while let Read::Data(bytes) = pair.host.read(stalled) {
        read += bytes.len();
        pair.settle();
    }
    assert_eq!(read, taken);
    assert_eq!(pair.guest.write(stalled, b"more"), Write::Taken);
}

#[test]
fn streams_take_turns() {
    let mut pair = Pair::new();
    let ids = [pair.open(), pair.open(), pair.open()];
    for id in ids {
        assert_eq!(pair.guest.write(id, &[0; limits::STREAM_CHUNK]), Write::Taken);
        assert_eq!(pair.guest.write(id, &[0; limits::STREAM_CHUNK]), Write::Wait);
    }
    let said: Vec<u32> = std::iter::from_fn(|| pair.guest.say()).map(|message| message.stream()).collect();
    assert_eq!(said, ids);
}

#[test]
fn data_that_crosses_a_reset_is_no_offence() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.guest.write(id, b"late");
    pair.host.reset(id, broken("it broke"));
    // Both speak before either hears.
    pair.say();
    pair.settle();
    assert_eq!(pair.guest.read(id), Read::Reset(broken("it broke")));
    assert_eq!(pair.guest.write(id, b"x"), Write::Over(broken("it broke")));
    pair.host.close(id);
    pair.guest.close(id);
    pair.settle();
    assert!(pair.is_empty());
}

#[test]
fn resets_and_ends_may_cross() {
    // Both reset; one ends and the other resets; both end and one resets after.
    for case in 0..4 {
        let mut pair = Pair::new();
        let id = pair.open();
        if case > 0 {
            pair.guest.end(id);
        }
        if case > 1 {
            pair.host.end(id);
        }
        if case != 2 {
            pair.say();
        }
        pair.guest.reset(id, broken(""));
        pair.host.reset(id, broken("no"));
        pair.say();
        pair.settle();
        pair.host.close(id);
        pair.guest.close(id);
        pair.settle();
        assert!(pair.is_empty(), "case {case}: {:?} {:?}", pair.guest, pair.host);
    }
}

#[test]
fn what_arrived_before_a_reset_can_still_be_read() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.host.write(id, b"last words");
    pair.settle();
    pair.host.reset(id, broken("gone"));
    pair.settle();
    assert_eq!(pair.guest.read(id), Read::Data(b"last words".to_vec()));
    assert_eq!(pair.guest.read(id), Read::Reset(broken("gone")));
}

#[test]
fn whoever_leaves_early_ends_the_stream() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.guest.end(id);
    pair.settle();
    pair.guest.close(id);
    pair.settle();
    assert!(pair.host.is_given_up(id));
    assert!(matches!(pair.host.write(id, b"x"), Write::Over(_)));
    pair.host.close(id);
    pair.settle();
    assert!(pair.is_empty());
}

#[test]
fn what_was_written_before_the_end_is_sent_after_the_close() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.guest.end(id);
    pair.settle();
    pair.host.write(id, b"answer");
    pair.host.end(id);
    pair.host.close(id);
    pair.settle();
    assert_eq!(pair.guest.read(id), Read::Data(b"answer".to_vec()));
    assert_eq!(pair.guest.read(id), Read::End);
}

#[test]
fn no_more_streams_are_open_than_may_be() {
    let mut pair = Pair::new();
    let ids: Vec<u32> = (0..limits::STREAMS).map(|_| pair.guest.open("a", 1).unwrap()).collect();
    assert_eq!(pair.guest.open("a", 1), None);
    assert_eq!(pair.settle().len(), limits::STREAMS);
    pair.guest.close(ids[0]);
    // Not before the host has agreed that it is over.
    assert_eq!(pair.guest.open("a", 1), None);
    pair.settle();
    assert!(pair.guest.open("a", 1).is_some());
    // The host still holds on to the one that is over.
    assert_eq!(pair.settle(), []);
    let last = pair.guest.last;
    let Opening::Reset(reset) = pair.guest.opening(last) else { panic!("it was taken") };
    assert_eq!(reset.why, Why::Limit);
    pair.guest.close(last);
    pair.settle();
    pair.host.close(ids[0]);
    assert!(pair.guest.open("a", 1).is_some());
    assert_eq!(pair.settle().len(), 1);
}

/// Opens, is reset, and opens again without ever listening: what waits to be said
/// to it stays bounded.
#[test]
fn a_guest_that_does_not_listen_fills_no_memory() {
    let mut host = Streams::new(Side::Host);
    let mut id = 0;
    let refused = loop {
        id += 1;
        let open = Network::Open { stream: id, host: "a".into(), port: 1 };
        match host.receive(open) {
            Ok(_) => host.reset(id, broken("no")),
            Err(violation) => break violation,
        }
        host.close(id);
        host.receive(Network::Reset { stream: id, why: Why::Broken, words: String::new() }).unwrap();
    };
    assert_eq!(id as usize, limits::STREAMS + 1);
    assert!(refused.to_string().contains("more than 128 streams"), "{refused}");
}

#[test]
fn every_violation_is_refused() {
    let open = |stream| Network::Open { stream, host: "example.org".into(), port: 443 };
    let data = |bytes: usize| Network::Data { stream: 5, bytes: vec![0; bytes] };
    let credit = |bytes| Network::Credit { stream: 5, bytes };
    let reset = |words: usize| Network::Reset { stream: 5, why: Why::Broken, words: "x".repeat(words) };
    let end = || Network::End { stream: 5 };
    let host = |length| Network::Open { stream: 6, host: "x".repeat(length), port: 443 };
    for (messages, words) in [
        (vec![open(5)], "opened stream 5 after stream 5"),
        (vec![open(4)], "opened stream 4 after stream 5"),
        (vec![host(0)], "0 bytes"),
        (vec![host(256)], "256 bytes"),
        (vec![Network::Opened { stream: 5 }], "the host's to say"),
        (vec![Network::Data { stream: 6, bytes: vec![1] }], "stream 6, which it never opened"),
        (vec![Network::Credit { stream: 6, bytes: 1 }], "stream 6, which it never opened"),
        (vec![Network::End { stream: 6 }], "stream 6, which it never opened"),
        (vec![Network::Data { stream: 4, bytes: vec![1] }], "stream 4, which was over"),
        (vec![Network::End { stream: 4 }], "stream 4, which was over"),
        (vec![data(0)], "0 bytes of a stream"),
        (vec![data(limits::STREAM_CHUNK + 1)], "32769 bytes of a stream"),
        (vec![data(limits::STREAM_CHUNK); 5], "more of stream 5 than it had credit for"),
        (vec![credit(0)], "a credit of 0 bytes"),
        (vec![credit(limits::STREAM_WINDOW / 2 - 1)], "a credit of 65535 bytes"),
        (vec![credit(limits::STREAM_WINDOW / 2)], "more credit than there may be"),
        (vec![credit(u32::MAX)], "more credit than there may be"),
        (vec![end(), end()], "ended stream 5 twice"),
        (vec![end(), data(1)], "after its end"),
        (vec![reset(0), data(1)], "after its end"),
        (vec![reset(0), reset(0)], "reset stream 5 twice"),
        (vec![reset(limits::VALUE + 1)], "a reason of 4097 bytes"),
    ] {
        let mut streams = Streams::new(Side::Host);
        streams.receive(open(5)).unwrap();
        let mut results = messages.into_iter().map(|message| streams.receive(message));
        let violation =
            results.find_map(Result::err).unwrap_or_else(|| panic!("{words}: nothing was refused"));
        assert!(violation.to_string().contains(words), "{violation} / {words}");
        assert_eq!(results.count(), 0);
    }
}

#[test]
fn what_can_have_crossed_a_last_word_is_let_pass() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.guest.end(id);
    pair.host.end(id);
    pair.settle();
    pair.host.close(id);
    assert!(pair.host.streams.is_empty());
    for message in [
        Network::Credit { stream: id, bytes: 1 },
        Network::Reset { stream: id, why: Why::Broken, words: String::new() },
    ] {
        assert_eq!(pair.host.receive(message), Ok(None));
    }
    // But not for ever.
    let again = || pair.host.receive(Network::Credit { stream: id, bytes: 1 });
    let violation = std::iter::repeat_with(again).take(5).find_map(Result::err).unwrap();
    assert!(violation.to_string().contains("of streams that were over"), "{violation}");
}
