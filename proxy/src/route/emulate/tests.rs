//! Over nodes that are plain maps: what is computed equals what one map with all keys gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::command;
use crate::error::Fate;
use crate::resp::request::{RequestBounds, RequestScanner};
use crate::resp::{Span, reply};
use crate::route::join::Joining;

type Scores = BTreeMap<Vec<u8>, f64>;

/// What keys hold: sorted sets, and sets, whose members all score 1.
#[derive(Debug, Clone, Default)]
struct Server {
    sorted: BTreeMap<Vec<u8>, Scores>,
    sets: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// A request, cut as the proxy cuts it.
struct Request {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Request {
    fn new(frame: Vec<u8>) -> Self {
        let mut spans = Vec::new();
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        RequestScanner::default().scan(&frame, bounds, &mut spans).expect("a request");
        Self { frame, spans }
    }

    fn of(words: &[Vec<u8>]) -> Self {
        let mut frame = Vec::new();
        encode::array(&mut frame, words.len());
        words.iter().for_each(|word| encode::bulk(&mut frame, word));
        Self::new(frame)
    }

    fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }
}

impl Server {
    fn set(&self, key: &[u8]) -> BTreeSet<Vec<u8>> {
        self.sets.get(key).cloned().unwrap_or_default()
    }

    fn scores(&self, key: &[u8]) -> Scores {
        match self.sorted.get(key) {
            Some(scores) => scores.clone(),
            None => self.set(key).into_iter().map(|member| (member, 1.0)).collect(),
        }
    }

    /// The reply that a server gives; written for this test alone, member by member.
    fn answer(&self, request: &Request, protocol: Protocol) -> Vec<u8> {
        let words: Vec<Vec<u8>> = request.args().iter().map(<[u8]>::to_vec).collect();
        let name = String::from_utf8(words[0].to_ascii_lowercase()).unwrap();
        let counted = name.starts_with('z') || name == "sintercard";
        let count: usize =
            if counted { std::str::from_utf8(&words[1]).unwrap().parse().unwrap() } else { words.len() - 1 };
        let first = if counted { 2 } else { 1 };
        let (keys, options) = words[first..].split_at(count);
        if name.starts_with('s') {
            if keys.iter().any(|key| self.sorted.contains_key(key)) {
                return WRONG_TYPE.to_vec();
            }
            return self.set_answer(&name, keys, options, protocol);
        }
        self.scores_answer(&name, keys, options, protocol)
    }

    fn set_answer(&self, name: &str, keys: &[Vec<u8>], options: &[Vec<u8>], protocol: Protocol) -> Vec<u8> {
        let sets: Vec<BTreeSet<Vec<u8>>> = keys.iter().map(|key| self.set(key)).collect();
        let everybody: BTreeSet<&Vec<u8>> = sets.iter().flatten().collect();
        let is_in = |member: &Vec<u8>| match name {
            "sunion" => true,
            "sdiff" => sets[0].contains(member) && !sets[1..].iter().any(|set| set.contains(member)),
            _ => sets.iter().all(|set| set.contains(member)),
        };
        let members: Vec<&Vec<u8>> = everybody.into_iter().filter(|member| is_in(member)).collect();
        let mut out = Vec::new();
        if name == "sintercard" {
            encode::integer(&mut out, limited(members.len(), options));
        } else {
            encode::set(&mut out, protocol, members.len());
            members.iter().for_each(|member| encode::bulk(&mut out, member));
        }
        out
    }

    fn scores_answer(
        &self,
        name: &str,
        keys: &[Vec<u8>],
        options: &[Vec<u8>],
        protocol: Protocol,
    ) -> Vec<u8> {
        let after = |word: &[u8]| options.iter().position(|option| option == word).map(|at| at + 1);
        let weight = |at: usize| match after(b"WEIGHTS") {
            Some(first) => std::str::from_utf8(&options[first + at]).unwrap().parse().unwrap(),
            None => 1.0,
        };
        let aggregate = after(b"AGGREGATE").map_or(&b"SUM"[..], |at| &options[at]);
        let mut inputs: Vec<(Scores, f64)> =
            keys.iter().enumerate().map(|(at, key)| (self.scores(key), weight(at))).collect();
        if name != "zdiff" {
            inputs.sort_by_key(|(scores, _)| scores.len());
        }
        let mut result = Scores::new();
        for member in inputs.iter().flat_map(|(scores, _)| scores.keys()) {
            let found: Vec<(f64, f64)> =
                inputs.iter().filter_map(|(scores, weight)| Some((*scores.get(member)?, *weight))).collect();
            let is_in = match name {
                "zunion" => true,
                "zdiff" => inputs[0].0.contains_key(member) && found.len() == 1,
                _ => found.len() == inputs.len(),
            };
            if is_in {
                result.insert(member.clone(), folded(name, aggregate, &found));
            }
        }
        let mut out = Vec::new();
        if name == "zintercard" {
            encode::integer(&mut out, limited(result.len(), options));
            return out;
        }
        let mut sorted: Vec<(Vec<u8>, f64)> = result.into_iter().collect();
        // members are in their order already
        sorted.sort_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap());
        let with_scores = after(b"WITHSCORES").is_some();
        let flat = with_scores && protocol == Protocol::Resp2;
        encode::array(&mut out, sorted.len() * if flat { 2 } else { 1 });
        for (member, score) in sorted {
            let mut text = Vec::new();
            float::write_score(&mut text, &mut Vec::new(), score);
            match (with_scores, protocol) {
                (false, _) => encode::bulk(&mut out, &member),
                (true, Protocol::Resp2) => {
                    encode::bulk(&mut out, &member);
                    encode::bulk(&mut out, &text);
                }
                (true, Protocol::Resp3) => {
                    encode::array(&mut out, 2);
                    encode::bulk(&mut out, &member);
                    out.extend_from_slice(&[b",", &text[..], b"\r\n"].concat());
                }
            }
        }
        out
    }
}

/// The count that SINTERCARD and ZINTERCARD give.
fn limited(count: usize, options: &[Vec<u8>]) -> i64 {
    let limit = options.get(1).map_or(0, |limit| std::str::from_utf8(limit).unwrap().parse().unwrap());
    (if limit > 0 { count.min(limit) } else { count }) as i64
}

fn folded(name: &str, aggregate: &[u8], found: &[(f64, f64)]) -> f64 {
    let no_nan = |value: f64| if value.is_nan() { 0.0 } else { value };
    let mut total = no_nan(found[0].0 * found[0].1);
    for (score, weight) in &found[1..] {
        let raw = score * weight;
        let value = if name == "zunion" { no_nan(raw) } else { raw };
        total = match aggregate {
            b"MIN" => {
                if value < total {
                    value
                } else {
                    total
                }
            }
            b"MAX" => {
                if value > total {
                    value
                } else {
                    total
                }
            }
            _ => no_nan(total + value),
        };
    }
    total
}

/// The keys of a request and the nodes they lie on: the last digit says where.
fn locate(args: &Args<'_>) -> (&'static command::Command, Vec<u32>, Vec<NodeIndex>) {
    let row = command::resolve(args).expect("a command");
    let mut keys = Vec::new();
    command::key_positions(row, args, &mut keys).expect("keys");
    let node = |key: &u32| NodeIndex(u16::from(*args.get(*key as usize).unwrap().last().unwrap()) % 3);
    let owners = keys.iter().map(node).collect();
    (row, keys, owners)
}

/// What the proxy answers; every part is asked of the server, which knows all keys.
fn emulated(server: &Server, request: &Request, protocol: Protocol) -> Vec<u8> {
    let args = request.args();
    let (row, keys, owners) = locate(&args);
    let (asks, plan) =
        plan(row.computed.expect("computed"), &args, &keys, &owners, protocol).expect("a plan");
    let answers: Vec<Vec<u8>> = asks
        .iter()
        .map(|ask| {
            let mut frame = Vec::new();
            ask.write(&args, &mut frame);
            let part = Request::new(frame);
            let (_, _, owners) = locate(&part.args());
            assert!(owners.iter().all(|owner| *owner == ask.node), "a part asks one node for its own keys");
            server.answer(&part, protocol)
        })
        .collect();
    let mut out = Vec::new();
    plan.finish(&mut out, answers.iter().map(Vec::as_slice)).expect("answers in Redis's form");
    out
}

/// Sets have no order: the head, and the elements sorted.
fn without_order(reply: &[u8]) -> (u8, Vec<&[u8]>) {
    let mut members: Vec<&[u8]> =
        reply::elements(reply).map(Iterator::collect).unwrap_or_else(|| vec![reply]);
    members.sort_unstable();
    (reply[0], members)
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => "[a-h]".prop_map(String::into_bytes), 1 => proptest::collection::vec(any::<u8>(), 0..3)]
}

fn score() -> impl Strategy<Value = f64> {
    let odd = prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0), Just(-0.0), Just(1e-300)];
    prop_oneof![4 => (-20..20i32).prop_map(f64::from), 2 => -1.0..1.0f64, 1 => odd]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..6u8).prop_map(|at| format!("key{at}").into_bytes())
}

fn server(with_sorted: bool) -> impl Strategy<Value = Server> {
    let set = proptest::collection::btree_set(member(), 0..8);
    let sorted = proptest::collection::btree_map(member(), score(), 0..8);
    let sets = proptest::collection::btree_map(key(), set, 0..6);
    let sorted = proptest::collection::btree_map(key(), sorted, 0..if with_sorted { 6 } else { 1 });
    (sets, sorted).prop_map(|(mut sets, sorted)| {
        sets.retain(|key, _| !sorted.contains_key(key));
        Server { sorted, sets }
    })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Resp2), Just(Protocol::Resp3)]
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()).collect()
}

proptest! {
    #[test]
    fn sets_are_those_of_one_server(
        server in server(false),
        keys in proptest::collection::vec(key(), 1..6),
        name in prop_oneof![Just("SUNION"), Just("SINTER"), Just("sdiff"), Just("SINTERCARD")],
        limit in 0..4usize,
        protocol in protocol(),
    ) {
        let mut request = words(name);
        if name == "SINTERCARD" {
            request.push(keys.len().to_string().into_bytes());
            request.extend(keys);
            request.extend(words(&format!("LIMIT {limit}")));
        } else {
            request.extend(keys);
        }
        let request = Request::of(&request);
        let (computed, expected) = (emulated(&server, &request, protocol), server.answer(&request, protocol));
        prop_assert_eq!(without_order(&computed), without_order(&expected));
    }

    #[test]
    fn sorted_sets_are_those_of_one_server(
        server in server(true),
        keys in proptest::collection::vec((key(), score()), 1..6),
        name in prop_oneof![Just("ZUNION"), Just("ZINTER"), Just("ZDIFF"), Just("ZINTERCARD")],
        with_weights: bool,
        aggregate in prop_oneof![Just(""), Just("AGGREGATE SUM"), Just("AGGREGATE MIN"), Just("AGGREGATE MAX")],
        with_scores: bool,
        protocol in protocol(),
    ) {
        let mut request = words(name);
        request.push(keys.len().to_string().into_bytes());
        request.extend(keys.iter().map(|(key, _)| key.clone()));
        if name == "ZUNION" || name == "ZINTER" {
            if with_weights {
                request.extend(words("WEIGHTS"));
                request.extend(keys.iter().map(|(_, weight)| weight.to_string().into_bytes()));
            }
            request.extend(words(aggregate));
        }
        if name == "ZINTERCARD" {
            request.extend(words("LIMIT 2"));
        } else if with_scores {
            request.extend(words("WITHSCORES"));
        }
        let request = Request::of(&request);
        let (computed, expected) = (emulated(&server, &request, protocol), server.answer(&request, protocol));
        prop_assert_eq!(String::from_utf8_lossy(&computed), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn answers_that_no_server_gives_are_no_panic(
        answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 3),
        head in prop_oneof![Just("*1\r\n"), Just("~1\r\n$1\r\n"), Just("*2\r\n$1\r\na\r\n"), Just(""), Just("*-1\r\n")],
        protocol in protocol(),
    ) {
        for text in ["SUNION key0 key1 key2", "SINTER key0 key1 key2", "SDIFF key0 key1 key2",
            "ZUNION 3 key0 key1 key2", "ZINTER 3 key0 key1 key2", "ZDIFF 3 key0 key1 key2 WITHSCORES",
            "ZINTERCARD 3 key0 key1 key2", "SINTERCARD 3 key0 key1 key2", "PFCOUNT key0 key1 key2"] {
            let request = Request::of(&words(text));
            let (row, keys, owners) = locate(&request.args());
            let (_, plan) = plan(row.computed.unwrap(), &request.args(), &keys, &owners, protocol).unwrap();
            let answers: Vec<Vec<u8>> = answers.iter().map(|tail| [head.as_bytes(), tail].concat()).collect();
            let _ = plan.finish(&mut Vec::new(), answers.iter().map(Vec::as_slice));
        }
    }
}

#[test]
fn a_node_does_its_part_where_that_changes_nothing() {
    let asked = |text: &str| {
        let request = Request::of(&words(text));
        let args = request.args();
        let (row, keys, owners) = locate(&args);
        let (asks, _) = plan(row.computed.unwrap(), &args, &keys, &owners, Protocol::Resp2).unwrap();
        let lines: Vec<String> = asks
            .iter()
            .map(|ask| {
                let mut frame = Vec::new();
                ask.write(&args, &mut frame);
                let part = Request::new(frame);
                let words: Vec<String> =
                    part.args().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                words.join(" ")
            })
            .collect();
        lines.join(", ")
    };
    assert_eq!(asked("SUNION a0 a1 b0 a1"), "SUNION a0 b0, SUNION a1 a1");
    assert_eq!(asked("sdiff a0 a1 b0 a2"), "SDIFF a0 b0, SUNION a1, SUNION a2");
    assert_eq!(asked("SINTERCARD 3 a0 a1 b1 LIMIT 5"), "SINTER a0, SINTER a1 b1");
    assert_eq!(
        asked("ZUNION 3 a0 b0 a1 WEIGHTS 1 2 3"),
        "ZUNION 1 a0 WITHSCORES, ZUNION 1 b0 WITHSCORES, ZUNION 1 a1 WITHSCORES"
    );
    assert_eq!(asked("ZINTER 3 a0 a1 a0"), "ZUNION 1 a0 WITHSCORES, ZUNION 1 a1 WITHSCORES");
    assert_eq!(asked("ZDIFF 3 a0 a1 b0 WITHSCORES"), "ZDIFF 2 a0 b0 WITHSCORES, ZUNION 1 a1");
    assert_eq!(asked("ZINTERCARD 3 a0 a1 b0"), "ZINTER 2 a0 b0, ZINTER 1 a1");
    assert_eq!(asked("PFCOUNT a0 a1 a0"), "GET a0, GET a1");
}

#[test]
fn a_score_that_stays_keeps_the_text_of_its_node() {
    let request = Request::of(&words("ZUNION 2 a0 a1 WITHSCORES WEIGHTS 1 2"));
    let (row, keys, owners) = locate(&request.args());
    let (_, plan) = plan(row.computed.unwrap(), &request.args(), &keys, &owners, Protocol::Resp2).unwrap();
    let answers: [&[u8]; 2] =
        [b"*2\r\n$1\r\nx\r\n$3\r\n0.1\r\n", b"*4\r\n$1\r\ny\r\n$4\r\n0.05\r\n$1\r\nz\r\n$1\r\n3\r\n"];
    let mut out = Vec::new();
    plan.finish(&mut out, answers.into_iter()).unwrap();
    let reply = String::from_utf8(out).unwrap();
    assert_eq!(
        reply,
        "*6\r\n$1\r\nx\r\n$3\r\n0.1\r\n$1\r\ny\r\n$19\r\n0.10000000000000001\r\n$1\r\nz\r\n$1\r\n6\r\n"
    );
}

#[test]
fn more_keys_than_parts_are_refused() {
    let mut request = words("PFCOUNT");
    request.extend((0..=u32::from(u16::MAX) + 1).map(|at| format!("{at}").into_bytes()));
    let request = Request::of(&request);
    let (row, keys, owners) = locate(&request.args());
    let refused = plan(row.computed.unwrap(), &request.args(), &keys, &owners, Protocol::Resp2);
    assert_eq!(refused.map(drop), Err(TOO_MANY_KEYS));
}

/// A plan for `SUNION a0 a1`, as a client's slot holds it.
fn joining(limit: usize) -> Joining {
    let request = Request::of(&words("SUNION a0 a1"));
    let (row, keys, owners) = locate(&request.args());
    let (asks, plan) = plan(row.computed.unwrap(), &request.args(), &keys, &owners, Protocol::Resp2).unwrap();
    let mut joining = Joining::default();
    joining.begin_computed(plan, asks.len(), limit);
    joining
}

fn finished(mut joining: Joining) -> String {
    let mut out = Vec::new();
    joining.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn i4_a_part_without_an_answer_fails_the_whole() {
    for fate in [Fate::NotSent, Fate::Unknown] {
        let mut joining = joining(1000);
        assert!(!joining.reply(0, b"*1\r\n$1\r\nx\r\n", true));
        let text = format!("{} node 'b' (h:1): gone", fate.code());
        assert!(joining.fail(1, fate, &text));
        assert_eq!(finished(joining), format!("-{text}\r\n"));
    }
    let mut refused = joining(1000);
    refused.reply(1, WRONG_TYPE, true);
    refused.reply(0, b"*0\r\n", true);
    assert_eq!(finished(refused).as_bytes(), WRONG_TYPE);
    let mut strange = joining(1000);
    strange.reply(0, b"*0\r\n", true);
    strange.reply(1, b":1\r\n", true);
    assert_eq!(finished(strange), format!("-{NOT_UNDERSTOOD}\r\n"));
}

#[test]
fn i6_answers_beyond_the_bound_are_dropped() {
    let mut joining = joining(20);
    joining.reply(0, b"*1\r\n$1\r\nx\r\n", true);
    joining.reply(1, b"*2\r\n$1\r\nx\r\n", false);
    assert_eq!(joining.held(), 0, "given back at once");
    joining.reply(1, b"$1\r\ny\r\n", true);
    assert_eq!(finished(joining), format!("-{TOO_LONG}\r\n"));
}

#[test]
fn memory_that_was_used_for_a_plan_serves_another_command() {
    let mut joining = joining(1000);
    joining.shrink();
    joining.begin(command::Join::Sum, false, &[0, 1], 2, 1000);
    joining.reply(0, b":1\r\n", true);
    joining.reply(1, b":2\r\n", true);
    assert_eq!(finished(joining), ":3\r\n");
}
