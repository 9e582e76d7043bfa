//! Every row of the command table against a real server: what Redis 7.0 says of a command is what the table says.

mod command_server;

use std::collections::BTreeSet;

use command_server::{Connection, Request, Server, Value, is_newer_than_7_0};
use ringway_proxy::command::{self, Begin, Command, Find, Flags, KeySpec, Local, Route};
use ringway_proxy::resp::Protocol;

fn texts(values: &Value) -> BTreeSet<String> {
    values.elements().iter().map(Value::text).collect()
}

fn info(server: &mut Connection, name: &str) -> Option<Value> {
    match &server.call(&["COMMAND", "INFO", name]).elements()[0] {
        Value::Nil => None,
        entry => Some(entry.clone()),
    }
}

/// Key specifications in one notation for both sides.
fn spec_text(spec: &KeySpec) -> String {
    let uses: BTreeSet<_> = spec.uses.names().collect();
    let begin = match spec.begin {
        Begin::Index(at) => format!("index {at}"),
        Begin::Keyword(word, from) => format!("keyword {word} {from}"),
        Begin::Unknown => "unknown".into(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
        Find::KeyNum { number, first, step } => format!("keynum {number} {first} {step}"),
        Find::Unknown => "unknown".into(),
    };
    format!("{uses:?} {begin} {find}")
}

fn server_spec_text(spec: &Value) -> String {
    let field = |name: &str| spec.field(name).expect("a key specification has this field");
    let half = |value: &Value| {
        let kind = value.field("type").expect("type").text();
        let fields = value.field("spec").expect("spec").elements().to_vec();
        let values = fields.chunks(2).map(|pair| match &pair[1] {
            Value::Integer(number) => number.to_string(),
            other => other.text(),
        });
        std::iter::once(kind).chain(values).collect::<Vec<_>>().join(" ")
    };
    format!("{:?} {} {}", texts(field("flags")), half(field("begin_search")), half(field("find_keys")))
}

fn compare_row(row: &Command, entry: &Value, whole: bool, faults: &mut Vec<String>) {
    let entry = entry.elements();
    let mut check = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            faults.push(format!("{}: {what}: {ours} here, {theirs} there", row.full_name));
        }
    };
    let number = |at: usize| match entry[at] {
        Value::Integer(number) => number.to_string(),
        ref other => panic!("not a number: {other:?}"),
    };
    let (first, last, step) = row.keys.first_last_step();
    check("arity", row.arity.to_string(), number(1));
    check("first", first.to_string(), number(3));
    check("last", last.to_string(), number(4));
    check("step", step.to_string(), number(5));
    let flags = texts(&entry[2]);
    for (flag, name) in [(Flags::READONLY, "readonly"), (Flags::WRITE, "write")] {
        check(name, row.flags.contains(flag).to_string(), flags.contains(name).to_string());
    }
    if whole {
        let ours: BTreeSet<_> = row.flags.names().map(String::from).collect();
        check("flags", format!("{ours:?}"), format!("{flags:?}"));
        let ours: BTreeSet<_> = row.categories.names().map(|name| format!("@{name}")).collect();
        check("categories", format!("{ours:?}"), format!("{:?}", texts(&entry[6])));
        let ours: Vec<_> = row.key_specs().map(|spec| spec_text(&spec)).collect();
        let theirs: Vec<_> = entry[8].elements().iter().map(server_spec_text).collect();
        check("key specifications", format!("{ours:?}"), format!("{theirs:?}"));
    }
}

#[test]
fn every_row_says_what_the_server_says() {
    let server = Server::start();
    let mut connection = server.connect();
    let whole = connection.is_redis_7_0();
    let (mut compared, mut faults) = (0, Vec::new());
    for row in command::all() {
        match info(&mut connection, row.full_name) {
            Some(entry) => {
                compare_row(row, &entry, whole, &mut faults);
                compared += 1;
            }
            None if whole && !is_newer_than_7_0(row.since) => {
                faults.push(format!("{}: not there", row.full_name))
            }
            None => {}
        }
    }
    if whole {
        for name in connection.call(&["COMMAND", "LIST"]).elements() {
            if command::find_full(name.text().as_bytes()).is_none() {
                faults.push(format!("{}: not in the table", name.text()));
            }
        }
    }
    println!("{compared} of {} rows compared with the server", command::command_count());
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(compared >= 350, "only {compared} rows compared");
}

#[test]
fn group_and_version_are_the_documented_ones() {
    let server = Server::start();
    let mut connection = server.connect();
    if !connection.is_redis_7_0() {
        return; // later versions moved some
    }
    for row in command::all().filter(|row| !is_newer_than_7_0(row.since)) {
        let docs = connection.call(&["COMMAND", "DOCS", row.full_name]);
        let docs = docs.field(row.full_name).expect("documented");
        assert_eq!(
            docs.field("group").map(Value::text).as_deref(),
            Some(row.group.name()),
            "{}",
            row.full_name
        );
        assert_eq!(docs.field("since").map(Value::text).as_deref(), Some(row.since), "{}", row.full_name);
        assert_ne!(docs.field("summary").map(Value::text).as_deref(), Some(row.summary), "our own words");
    }
}

/// Puts sets in order and takes out what Ringway does not tell: notes, tips, subcommands that it refuses.
fn comparable(entry: &Value) -> Value {
    let sorted = |value: &Value, mut values: Vec<Value>| {
        values.sort();
        if matches!(value, Value::Set(_)) { Value::Set(values) } else { Value::Array(values) }
    };
    let is_supported = |entry: &&Value| {
        let name = entry.elements()[0].text();
        command::find_full(name.as_bytes()).is_some_and(Command::is_supported)
    };
    let mut parts = entry.elements().to_vec();
    parts[2] = sorted(&parts[2], parts[2].elements().to_vec());
    parts[6] = sorted(&parts[6], parts[6].elements().to_vec());
    parts[7] = sorted(&parts[7], Vec::new());
    parts[8] = sorted(&parts[8], parts[8].elements().iter().map(without_notes).collect());
    parts[9] = sorted(&parts[9], parts[9].elements().iter().filter(is_supported).map(comparable).collect());
    Value::Array(parts)
}

fn without_notes(spec: &Value) -> Value {
    match spec {
        Value::Map(pairs) => {
            Value::Map(pairs.iter().filter(|(name, _)| name.text() != "notes").cloned().collect())
        }
        other => {
            let pairs = other.elements().chunks(2).filter(|pair| pair[0].text() != "notes");
            Value::Array(pairs.flatten().cloned().collect())
        }
    }
}

#[test]
fn command_info_has_the_servers_shape() {
    let server = Server::start();
    for (mut connection, protocol) in
        [(server.connect(), Protocol::Resp2), (server.connect().resp3(), Protocol::Resp3)]
    {
        if !connection.is_redis_7_0() {
            return;
        }
        let mut compared = 0;
        for row in command::all().filter(|row| !is_newer_than_7_0(row.since)) {
            let request = ["COMMAND", "INFO", row.full_name];
            let ours = Request::new(&request).described(protocol).elements()[0].clone();
            if !row.is_supported() {
                assert_eq!(ours, Value::Nil, "{}", row.full_name);
            } else if row.name != "client" {
                // CLIENT has subcommands that 7.0 lacks
                let theirs = connection.call(&request).elements()[0].clone();
                assert_eq!(comparable(&ours), comparable(&theirs), "{}", row.full_name);
                compared += 1;
            }
        }
        println!("{compared} entries of COMMAND INFO compared in {protocol:?}");
    }
}

#[test]
fn lists_tell_what_works() {
    let list = |parts: &[&str]| texts(&Request::new(parts).described(Protocol::Resp2));
    let names = list(&["COMMAND", "LIST"]);
    assert!(
        names.contains("get")
            && names.contains("xgroup|create")
            && names.contains("subscribe")
            && !names.contains("migrate")
    );
    let all = Request::new(&["COMMAND"]).described(Protocol::Resp3);
    let count = Request::new(&["COMMAND", "COUNT"]).described(Protocol::Resp2);
    assert_eq!(Value::Integer(all.elements().len() as i64), count);
    assert_eq!(all, Request::new(&["COMMAND", "INFO"]).described(Protocol::Resp3));
    assert!(list(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", "Hash"]).contains("hget"));
    assert!(list(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", "nonsense"]).is_empty());
    assert!(list(&["COMMAND", "LIST", "FILTERBY", "MODULE", "x"]).is_empty());
    assert_eq!(list(&["COMMAND", "LIST", "filterby", "pattern", "M[SG]ET"]), list_of(&["mget", "mset"]));
    let help = Request::new(&["OBJECT", "HELP"]).described(Protocol::Resp2);
    assert!(texts(&help).contains("ENCODING"));
}

fn list_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn docs_are_maps_of_what_works() {
    let docs = Request::new(&["COMMAND", "DOCS"]).described(Protocol::Resp3);
    let Value::Map(pairs) = &docs else { panic!("not a map") };
    assert_eq!(pairs.len(), command::top_level().iter().filter(|row| row.is_supported()).count());
    let below = docs.field("object").and_then(|entry| entry.field("subcommands")).expect("subcommands");
    assert!(below.field("object|encoding").is_some());
    let some =
        Request::new(&["COMMAND", "DOCS", "get", "nonsense", "OBJECT|ENCODING"]).described(Protocol::Resp2);
    assert_eq!(some.elements().len(), 4);
    assert_eq!(
        some.field("get").and_then(|entry| entry.field("group")).map(Value::text).as_deref(),
        Some("string")
    );
}

/// Requests that must fail in the same words: wrong numbers of arguments for every row, unknown and malformed names.
fn broken_requests() -> Vec<Vec<Vec<u8>>> {
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    for row in command::all().filter(|row| !is_newer_than_7_0(row.since)) {
        let names: Vec<Vec<u8>> =
            row.full_name.split('|').map(|name| name.to_uppercase().into_bytes()).collect();
        let exact = usize::from(row.arity.unsigned_abs());
        let wrong = [exact - 1, exact + 1];
        for len in wrong.into_iter().filter(|len| *len >= names.len() && !row.accepts(*len)) {
            let mut request = names.clone();
            request.resize(len, b"x".to_vec());
            requests.push(request);
        }
        if row.is_container() {
            requests.push(vec![names[0].clone(), b"no\r\nsuch".to_vec(), b"x".to_vec()]);
            requests.push(vec![names[0].clone(), vec![b'y'; 500]]);
        }
    }
    let unknown: [&[&[u8]]; 12] = [
        &[b"foo"],
        &[b"foo", b"a", b"b"],
        &[b""],
        &[b"", b""],
        &[b"x\r\n+OK"],
        &[b"get\0", b"k"],
        &[b"\0get", b"k\0k"],
        &[b"\xff\xfe", b"\x80"],
        &[b"get|x", b"a"],
        &[&[b'n'; 300], &[b'a'; 100], &[b'b'; 100], b"c"],
        &[b"foo", &[b'a'; 126], b"b"],
        &[b"foo", &[b'a'; 125], b"b", b"c"],
    ];
    requests.extend(unknown.iter().map(|request| request.iter().map(|arg| arg.to_vec()).collect()));
    requests.push(vec![b"foo".to_vec(), vec![b'z'; 1 << 20]]);
    requests
}

#[test]
fn broken_requests_fail_in_the_servers_words() {
    let server = Server::start();
    let mut connection = server.connect();
    if !connection.is_redis_7_0() {
        return;
    }
    let mut requests = broken_requests();
    requests.retain(|request| request[0] != b"EXEC"); // says EXECABORT even outside of a transaction
    for request in &requests {
        let ours = command::resolve(&Request::new(request).args()).expect_err("broken");
        let mut reply = Vec::new();
        ours.write_reply(&mut reply);
        let theirs = connection.call(request);
        assert_eq!(Value::parse(&reply), theirs, "{:?}", String::from_utf8_lossy(&request[0]));
        assert!(ours.to_string().len() <= 400 && !ours.to_string().contains(['\r', '\n']));
    }
    println!("{} broken requests compared", requests.len());
}

/// Commands marked `lookup` answer nil, alone or in an array, exactly because nothing is there.
#[test]
fn a_lookup_that_finds_nothing_answers_nil() {
    let server = Server::start();
    let mut connection = server.connect();
    for row in command::all().filter(|row| row.lookup && !is_newer_than_7_0(row.since)) {
        let mut request = vec![row.name, "nothing"];
        request.resize(usize::from(row.arity.unsigned_abs()), "0");
        let reply = connection.call(&request);
        let missing = match &reply {
            Value::Array(values) => values.iter().all(|value| *value == Value::Nil),
            other => *other == Value::Nil,
        };
        assert!(missing, "{}: {reply:?}", row.name);
        connection.call(&["FLUSHALL"]);
    }
    assert!(!command::all().any(|row| row.lookup && !matches!(row.route, Route::Key | Route::Split(_))));
}

#[test]
fn only_described_locals_are_described() {
    for row in command::all() {
        if let Route::Local(local) = row.route {
            let from_table = row.full_name.starts_with("command") || row.name == "help";
            assert_eq!(local.is_described(), from_table, "{}", row.full_name);
            assert!(row.is_container() || local != Local::CommandAll);
        }
    }
}
