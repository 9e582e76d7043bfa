//! Key positions of every row against a real server's `COMMAND GETKEYS`, and the errors of requests whose keys cannot
//! be told against what the server answers when it runs them.

mod command_server;

use command_server::generate::{Parts, Random, name_of, parts, requests_for};
use command_server::{Connection, Request, Server, Value, is_newer_than_7_0};
use ringway_proxy::command::{self, Command, KeyError, Keys};
use ringway_proxy::resp::Protocol;

fn asked(word: &str, request: &Parts) -> Parts {
    let mut asked = parts(&format!("COMMAND {word}"));
    asked.extend(request.iter().cloned());
    asked
}

/// What `key_positions` finds, in the form of a reply.
fn positions(request: &Parts) -> Result<Value, KeyError> {
    let request = Request::new(request);
    let row = command::resolve(&request.args()).expect("a valid request");
    let mut positions = vec![77];
    command::key_positions(row, &request.args(), &mut positions)?;
    let key = |at: &u32| Value::Bulk(request.args().get(*at as usize).expect("inside the request").to_vec());
    Ok(Value::Array(positions.iter().map(key).collect()))
}

fn has_keys(row: &Command) -> bool {
    !matches!(row.keys, Keys::None | Keys::Channels { .. })
}

#[test]
fn keys_are_those_of_command_getkeys() {
    let server = Server::start();
    let mut resp2 = server.connect();
    let mut resp3 = server.connect().resp3();
    let whole = resp2.is_redis_7_0();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut rows, mut vectors) = (0, 0);
    for row in command::all().filter(|row| has_keys(row) && !is_newer_than_7_0(row.since)) {
        rows += 1;
        for request in requests_for(row, &mut random) {
            let theirs = resp2.call(&asked("GETKEYS", &request));
            let shown: Vec<_> = request.iter().map(|part| part.escape_ascii().to_string()).collect();
            assert_eq!(positions(&request).as_ref(), Ok(&theirs), "{shown:?}");
            let ours = Request::new(&asked("GETKEYS", &request)).described(Protocol::Resp2);
            assert_eq!(ours, theirs, "{shown:?}");
            if whole {
                let ours = Request::new(&asked("GETKEYSANDFLAGS", &request)).described(Protocol::Resp3);
                assert_eq!(ours, resp3.call(&asked("GETKEYSANDFLAGS", &request)), "{shown:?}");
            }
            vectors += 1;
        }
    }
    println!("{vectors} requests of {rows} rows compared with COMMAND GETKEYS");
    assert!(rows > 170 && vectors > 3000);
}

#[test]
fn getkeys_refuses_in_the_servers_words() {
    let server = Server::start();
    let mut connection = server.connect();
    for request in [
        "ping",
        "nonsense x",
        "get a b",
        "get",
        "object nonsense k",
        "object help x",
        "object help",
        "subscribe a",
        "ssubscribe a b",
        "spublish a b",
        "zunion 0 a",
        "zunion -1 a",
        "zunion 99 a",
        "zunionstore d x a",
        "lmpop 0 a left",
        "xread count 1 a b",
        "eval s 0",
        "eval s -1 a",
        "eval s 9 a",
        "fcall f 0",
        "mset a 1 b",
        "sort a by w_* get x* store b",
        "migrate h 1 k 0 10 keys a",
        "xread streams a b c",
    ] {
        let request = asked("GETKEYS", &parts(request));
        let theirs = connection.call(&request);
        assert_eq!(
            Request::new(&request).described(Protocol::Resp2),
            theirs,
            "{:?}",
            request.join(&b' ').escape_ascii()
        );
    }
}

/// Numbers of keys that no command accepts, and some that only some accept.
const NUMBERS: [&str; 16] = [
    "-1",
    "0",
    "4",
    "99",
    "-99999999999",
    "99999999999",
    "9223372036854775807",
    "9223372036854775808",
    "abc",
    "",
    "+1",
    "01",
    "1.0",
    " 1",
    "-0",
    "1\0",
];

#[test]
fn bad_numbers_of_keys_fail_in_the_words_of_the_command_itself() {
    let server = Server::start();
    let mut connection = server.connect();
    if !connection.is_redis_7_0() {
        return;
    }
    let library = "#!lua name=l\nredis.register_function{function_name='f',callback=function() return 1 end,\
                   flags={'no-writes'}}";
    assert_eq!(connection.call(&["FUNCTION", "LOAD", library]).text(), "l");
    let digest = connection.call(&["SCRIPT", "LOAD", "return 1"]).text();
    let mut refused = 0;
    for row in command::all() {
        let Keys::NumKeys { at, destination, .. } = row.keys else { continue };
        for bad in NUMBERS {
            let mut request = name_of(row);
            if destination {
                request.push(b"d".to_vec());
            }
            let before = match row.name {
                name if name.starts_with("fcall") => "f",
                name if name.starts_with("eval") => &digest,
                _ => "0", // a timeout, where there is one
            };
            request.resize(at, before.as_bytes().to_vec());
            request.push(bad.as_bytes().to_vec());
            request.extend(parts("a b c"));
            refused += usize::from(compare_refusal(&mut connection, row, &request));
        }
    }
    println!("{refused} refusals compared");
    assert!(refused > 200);
}

/// Whether the keys could not be told; then the server must have said the same.
fn compare_refusal(connection: &mut Connection, row: &Command, request: &Parts) -> bool {
    let Err(error) = positions(request) else { return false };
    let theirs = connection.call(request).text();
    assert_eq!(
        error.to_string(),
        theirs,
        "{} {:?}",
        row.name,
        request.join(&b' ').escape_ascii().to_string()
    );
    true
}

#[test]
fn requests_without_keys_fail_in_the_words_of_the_command_itself() {
    let server = Server::start();
    let mut connection = server.connect();
    for request in [
        "xread count 1 a b",
        "xread foo streams a",
        "xreadgroup group g c a b c",
        "mset a 1 b",
        "msetnx a 1 b",
    ] {
        let error = positions(&parts(request)).expect_err(request);
        assert_eq!(error.to_string(), connection.call(&parts(request)).text(), "{request}");
    }
}

fn keys_of(request: &[&[u8]]) -> Value {
    positions(&request.iter().map(|part| part.to_vec()).collect()).expect("keys")
}

fn bulks(keys: &[&[u8]]) -> Value {
    Value::Array(keys.iter().map(|key| Value::Bulk(key.to_vec())).collect())
}

/// Where GETKEYS and the command disagree, the command is right: it decides where data land.
#[test]
fn options_are_read_as_the_command_reads_them() {
    let server = Server::start();
    let mut connection = server.connect();
    connection.call(&["RPUSH", "l", "1"]);
    assert_eq!(keys_of(&[b"SORT", b"l", b"STORE", b"get", b"STORE", b"d"]), bulks(&[b"l", b"d"]));
    assert_eq!(connection.call(&["SORT", "l", "STORE", "get", "STORE", "d"]), Value::Integer(1));
    assert_eq!(connection.call(&["EXISTS", "d"]), Value::Integer(1));
    assert_eq!(connection.call(&["EXISTS", "get"]), Value::Integer(0));

    assert_eq!(keys_of(&[b"SORT", b"l", b"STORE\0x", b"e"]), bulks(&[b"l", b"e"]));
    assert_eq!(connection.call(&["SORT", "l", "STORE\0x", "e"]), Value::Integer(1));
    assert_eq!(connection.call(&["EXISTS", "e"]), Value::Integer(1));

    connection.call(&["GEOADD", "p", "1", "1", "m"]);
    let request = "GEORADIUS p 1 1 9 km STORE f STOREDIST g STORE h";
    let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    assert_eq!(keys_of(&words), bulks(&[b"p", b"f", b"g", b"h"]));
    assert_eq!(connection.call(&parts(request)), Value::Integer(1));
    assert_eq!(connection.call(&["EXISTS", "f", "g", "h", "h"]), Value::Integer(2));

    connection.call(&["XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"]);
    connection.call(&["XADD", "s", "1-1", "f", "v"]);
    let request = "XREADGROUP COUNT 1 GROUP g streams STREAMS s >";
    let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    assert_eq!(keys_of(&words), bulks(&[b"s"]));
    assert_eq!(connection.call(&parts(request)).elements().len(), 1);
}

#[test]
fn waiting_is_told() {
    let blocks = |text: &str| {
        let request = Request::new(&parts(text));
        command::blocks(command::resolve(&request.args()).expect("valid"), &request.args())
    };
    for waits in [
        "blpop a 0",
        "xread block 0 streams a $",
        "xread count 1 BLOCK 5 streams a $",
        "xreadgroup group g c block 1 streams a >",
        "bzmpop 0 1 a min",
    ] {
        assert!(blocks(waits), "{waits}");
    }
    for goes_on in [
        "lpop a",
        "xread streams block 0",
        "xreadgroup group block c streams a >",
        "xreadgroup group g block count 1 streams a >",
    ] {
        assert!(!blocks(goes_on), "{goes_on}");
    }
}

/// Requests of random words, resolved or not: no panic, and never a position outside of the request.
#[test]
fn any_request_gives_positions_inside_of_it() {
    let names: Vec<&Command> = command::all().collect();
    let words =
        ["store", "streams", "keys", "get", "by", "block", "count", "1", "2", "-1", "99", "", "a*", "group"];
    let mut random = Random(7);
    let mut out = Vec::new();
    for _ in 0..200_000 {
        let row = names[random.below(names.len())];
        let mut request = name_of(row);
        (0..random.below(9)).for_each(|_| request.extend(parts(random.of(&words))));
        let request = Request::new(&request);
        let Ok(row) = command::resolve(&request.args()) else { continue };
        let _ = command::key_positions(row, &request.args(), &mut out);
        assert!(out.iter().all(|at| (*at as usize) < request.args().len()), "{}", row.full_name);
        assert!(out.len() < request.args().len());
        command::blocks(row, &request.args());
    }
}
