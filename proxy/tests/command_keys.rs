//! Key positions of every row against a real server's `COMMAND GETKEYS`, and the errors of requests whose keys cannot
//! be told against what the server answers when it runs them.

mod command_server;

use command_server::{Connection, Request, Server, Value, is_newer_than_7_0};
use ringway_proxy::command::{self, Command, KeyError, Keys, NumKeysRule};
use ringway_proxy::resp::Protocol;

type Parts = Vec<Vec<u8>>;

/// Keys that are hard to get right: tags, empty, binary, line breaks, words that are options elsewhere.
const KEYS: [&[u8]; 12] =
    [b"k", b"{}", b"{}{a}", b"{{a}}", b"", b"\0", b"\xff\xfe", b"a\r\nb", b"streams", b"STORE", b"0", b"-1"];

fn parts(text: &str) -> Parts {
    text.split(' ').map(|part| part.as_bytes().to_vec()).collect()
}

fn name_of(row: &Command) -> Parts {
    row.full_name.split('|').map(|name| name.as_bytes().to_vec()).collect()
}

fn number(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn key(&mut self) -> Vec<u8> {
        KEYS[self.below(KEYS.len())].to_vec()
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// Valid argument vectors of one row.
fn requests_for(row: &Command, random: &mut Random) -> Vec<Parts> {
    match row.keys {
        Keys::NumKeys { at, destination, rule } => counted(row, at, destination, rule, random),
        Keys::Streams { .. } => (0..200).map(|_| streams(row, random)).collect(),
        Keys::Sort { store } => (0..200).map(|_| sort(row, store, random)).collect(),
        Keys::GeoRadius { options } => (0..200).map(|_| georadius(row, options, random)).collect(),
        Keys::Migrate => (0..200).map(|_| migrate(row, random)).collect(),
        _ => fixed(row, random),
    }
}

/// Requests whose options decide what happens to the key.
const OPTIONAL_USES: [&str; 9] = [
    "set k get",
    "set k v get",
    "set k v EX 10 GeT",
    "set k v nx",
    "bitfield k",
    "bitfield k get u8 0",
    "bitfield k GET u8 0 get u4 3",
    "bitfield k get u8 0 set u8 0 1",
    "bitfield k overflow sat incrby u8 0 1",
];

/// From the least number of arguments to a few more, all of them hard keys.
fn fixed(row: &Command, random: &mut Random) -> Vec<Parts> {
    let least = usize::from(row.arity.unsigned_abs());
    let most = if row.arity < 0 { least + 5 } else { least };
    let lengths = (least..=most).flat_map(|len| std::iter::repeat_n(len, 4));
    let with_options = OPTIONAL_USES.iter().filter(|text| text.split(' ').next() == Some(row.name));
    let mut requests: Vec<Parts> = with_options.map(|text| parts(text)).collect();
    for len in lengths {
        let mut request = name_of(row);
        while request.len() < len {
            request.push(random.key());
        }
        let is_paired = !matches!(row.keys, Keys::Range { step: 2, .. }) || len % 2 == 1;
        // GETKEYS refuses the destination alone, which PFMERGE accepts when it runs
        let is_accepted = row.name != "pfmerge" || len > 2;
        if is_paired && is_accepted {
            requests.push(request);
        }
    }
    requests
}

fn counted(
    row: &Command,
    at: usize,
    destination: bool,
    rule: NumKeysRule,
    random: &mut Random,
) -> Vec<Parts> {
    let least = if rule == NumKeysRule::Script { 0 } else { 1 };
    let mut requests = Vec::new();
    for count in least..least + 6 {
        for more in 0..4 {
            let mut request = name_of(row);
            if destination {
                request.push(random.key());
            }
            request.resize(at, b"1".to_vec());
            request.push(number(count));
            (0..count + more).for_each(|_| request.push(random.key()));
            if row.accepts(request.len()) {
                requests.push(request);
            }
        }
    }
    requests
}

fn streams(row: &Command, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    if row.name == "xreadgroup" {
        request.extend(parts(random.of(&["GROUP g c", "group streams c", "Group count block"])));
    }
    for _ in 0..random.below(4) {
        let options = ["COUNT 3", "block 0", "Block 5", "count 1", "NOACK"];
        let allowed = if row.name == "xreadgroup" { &options[..] } else { &options[..4] };
        request.extend(parts(random.of(allowed)));
    }
    request.extend(parts(random.of(&["STREAMS", "streams", "StReAmS"])));
    let count = 1 + random.below(4);
    (0..count).for_each(|_| request.push(random.key()));
    (0..count).for_each(|_| request.extend(parts(random.of(&["0", "$", "1-1"]))));
    request
}

/// Values are never option words: see `options_are_read_as_the_command_reads_them`.
fn sort(row: &Command, store: bool, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.push(random.key());
    for _ in 0..random.below(6) {
        let options =
            ["ASC", "desc", "Alpha", "LIMIT 0 5", "BY nosort", "by store", "GET #", "get x", "STORE"];
        match random.of(&options[..if store { 9 } else { 8 }]) {
            "STORE" => {
                request.extend(parts(random.of(&["STORE", "store", "Store"])));
                request.extend(parts(random.of(&["d", "{}", "{a}b", "\0\r\n"])));
            }
            option => request.extend(parts(option)),
        }
    }
    request
}

fn georadius(row: &Command, options: usize, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.push(random.key());
    request.resize(options - 1, b"1".to_vec());
    request.push(b"km".to_vec());
    let words = ["WITHCOORD", "WITHDIST", "COUNT 3", "count 1 any", "ASC"];
    let stores: [&[&str]; 5] =
        [&[], &["STORE d"], &["storedist e"], &["Store {}", "StoreDist {a}"], &["STOREDIST d", "STORE e"]];
    let mut options: Vec<&str> = stores[random.below(5)].to_vec();
    for _ in 0..random.below(4) {
        options.insert(random.below(options.len() + 1), random.of(&words));
    }
    options.iter().for_each(|option| request.extend(parts(option)));
    request
}

fn migrate(row: &Command, random: &mut Random) -> Parts {
    let mut request = name_of(row);
    request.extend(parts("127.0.0.1 1"));
    let many = random.below(2) == 0;
    request.push(if many { Vec::new() } else { b"k".to_vec() });
    request.extend(parts("0 10"));
    let options = ["COPY", "replace", "AUTH keys", "auth p", "AUTH2 keys keys", "auth2 u p"];
    (0..random.below(3)).for_each(|_| request.extend(parts(random.of(&options))));
    if many {
        request.push(b"Keys".to_vec());
        (0..1 + random.below(4)).for_each(|_| request.push(random.key()));
    }
    request
}

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
    // FCALL has a text of its own for what is no number
    let theirs = match theirs.as_str() {
        "ERR Bad number of keys provided" => KeyError::NotAnInteger.to_string(),
        _ => theirs,
    };
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
fn sort_with_patterns_is_refused_by_name() {
    for (request, expected) in [
        ("sort l by w_*", KeyError::SortBy),
        ("sort_ro l BY *", KeyError::SortBy),
        ("sort l get # get o_*->f", KeyError::SortGet),
        ("sort l limit 0 1 store d GET *", KeyError::SortGet),
    ] {
        assert_eq!(positions(&parts(request)), Err(expected), "{request}");
    }
    for request in ["sort l by nosort get #", "sort l store a*", "sort l* desc", "sort l nonsense by *"] {
        assert!(positions(&parts(request)).is_ok(), "{request}");
    }
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
