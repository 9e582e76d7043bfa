use super::*;
use SubscriptionKind::{Channel, Pattern};
use std::time::Duration;

fn topic(kind: SubscriptionKind, name: &str) -> Rc<Topic> {
    Rc::new(Topic::new(kind, name.as_bytes()))
}

fn confirmation(verb: &str, name: &str) -> String {
    format!("*3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n", verb.len(), name.len())
}

/// What was heard, as text, and the names of settled and refused topics.
fn receive(hearing: &mut Hearing, bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut heard, mut events) = (Vec::new(), Vec::new());
    hearing.received(bytes, Instant::now(), 1 << 20, &mut events, |message| {
        heard.push(String::from_utf8(message.topic.to_vec()).unwrap());
    })?;
    let named = |topic: &Topic| String::from_utf8(topic.name.to_vec()).unwrap();
    let told = events.iter().map(|event| match event {
        Event::Settled(topic) => named(topic),
        Event::Refused(topic, why) => format!("{}: {why}", named(topic)),
    });
    Ok((heard, told.collect()))
}

#[test]
fn messages_and_confirmations_are_told_apart_at_every_split() {
    let stream = [
        confirmation("subscribe", "a"),
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$9\r\nsubscribe\r\n".into(),
        confirmation("psubscribe", "b*"),
        "*4\r\n$8\r\npmessage\r\n$2\r\nb*\r\n$2\r\nbc\r\n$4\r\nx\r\ny\r\n".into(),
        confirmation("unsubscribe", "a"),
    ]
    .concat();
    for first in 0..stream.len() {
        for second in first..=stream.len() {
            let (a, b) = (topic(Channel, "a"), topic(Pattern, "b*"));
            let mut hearing = Hearing::new(Instant::now());
            hearing.listen(&a, Instant::now());
            hearing.listen(&b, Instant::now());
            hearing.leave(&a, true, Instant::now());
            let (mut heard, mut settled) = (Vec::new(), Vec::new());
            for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                let (more, told) = receive(&mut hearing, piece.as_bytes()).unwrap();
                heard.extend(more);
                settled.extend(told);
            }
            assert_eq!((heard.join(" "), settled.join(" ")), ("a b*".into(), "b* a".into()));
            assert!(hearing.is_here(&b) && !hearing.is_here(&a));
            assert!(!hearing.asking.is_stalled(Instant::now() + Duration::from_secs(9), Duration::ZERO));
        }
    }
}

#[test]
fn a_topic_that_is_left_and_wanted_again_is_here_only_after_the_last_word() {
    let a = topic(Channel, "a");
    let mut hearing = Hearing::new(Instant::now());
    hearing.listen(&a, Instant::now());
    hearing.leave(&a, true, Instant::now());
    hearing.listen(&a, Instant::now());
    assert_eq!(receive(&mut hearing, confirmation("subscribe", "a").as_bytes()).unwrap().1.len(), 0);
    assert!(!hearing.is_here(&a));
    let rest = confirmation("unsubscribe", "a") + &confirmation("subscribe", "a");
    assert_eq!(receive(&mut hearing, rest.as_bytes()).unwrap().1, ["a"]);
    assert!(hearing.is_here(&a) && a.is_settled());
}

#[test]
fn a_lost_node_holds_nobody_up_and_is_asked_again_when_it_is_back() {
    let (a, b) = (topic(Channel, "a"), topic(Channel, "b"));
    let mut hearing = Hearing::new(Instant::now());
    hearing.note(&a, true);
    assert!(!a.is_settled());
    assert_eq!(hearing.lost().len(), 1);
    hearing.note(&b, false);
    assert!(a.is_settled() && b.is_settled());
    hearing.arrived(Instant::now());
    let asked = String::from_utf8(hearing.asking.unwritten().to_vec()).unwrap();
    assert!(asked.matches("subscribe").count() == 2 && !a.is_settled() && !b.is_settled());
    assert_eq!(hearing.lost().len(), 2);
    assert!(a.is_settled() && b.is_settled() && hearing.asking.unwritten().is_empty());
    assert!(hearing.closed().is_empty());
}

#[test]
fn refusals_are_told_and_strange_words_end_the_connection() {
    let a = topic(Channel, "a");
    let mut hearing = Hearing::new(Instant::now());
    hearing.listen(&a, Instant::now());
    hearing.asking.push(Ask::Probe, Instant::now(), |_| {});
    let told = receive(&mut hearing, b"-NOPERM no\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n").unwrap().1;
    assert_eq!(told, ["a: NOPERM no", "a"]);
    for strange in ["+OK\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "?\r\n"] {
        assert!(receive(&mut hearing, strange.as_bytes()).is_err(), "{strange:?}");
        hearing.lost();
    }
    hearing.listen(&a, Instant::now());
    assert!(receive(&mut hearing, confirmation("subscribe", "b").as_bytes()).is_err());
    assert_eq!(hearing.lost().len(), 1, "who waits is told");
    let long = format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n", 2 << 20) + &"x".repeat(2 << 20);
    assert!(receive(&mut hearing, long.as_bytes()).is_err());
}
