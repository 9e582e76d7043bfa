//! What a client must not be able to do with bytes. Where Redis can be followed, a real server is the judge: both get the
//! same bytes on a fresh connection and must send the same bytes back.

use std::time::Duration;

use ringway_proxy::settings::Secret;

use crate::support::frame::bulk_request;
use crate::support::{Cluster, RawClient, RedisServer};

/// Everything the peer says to these bytes until it closes.
fn answer(mut client: RawClient, bytes: &[u8]) -> Vec<u8> {
    // a server that closed in the middle of a long input is an answer too
    if client.try_send(bytes) {
        client.finish_sending();
    }
    client.rest()
}

fn show(bytes: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).escape_debug().to_string();
    if bytes.len() > 120 { format!("{head}… ({} bytes)", bytes.len()) } else { head }
}

fn same_as_redis(inputs: &[&[u8]]) {
    let cluster = Cluster::start(1);
    let bare = RedisServer::start();
    let mut differences = Vec::new();
    for input in inputs {
        let (got, expected) = (answer(cluster.client(), input), answer(bare.client(), input));
        if got != expected {
            differences.push(format!(
                "{}\n    ringway: {}\n    redis:   {}",
                show(input),
                show(&got),
                show(&expected)
            ));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(cluster.client().text(&["PING"]), "+PONG\r\n");
}

#[test]
fn d1_broken_resp_is_answered_as_redis_answers() {
    // one byte more than Redis waits for; with a line break behind it Redis's answer would depend on how it read
    let long_line = vec![b'x'; 64 * 1024 + 1];
    let long_count = [b"*".to_vec(), vec![b'1'; 64 * 1024]].concat();
    let long_length = [b"*1\r\n$".to_vec(), vec![b'1'; 64 * 1024]].concat();
    same_as_redis(&[
        b"",
        b"*-1\r\nPING\r\n",
        b"*0\r\nPING\r\n",
        b"*-5\r\nPING\r\n",
        b"\r\n\r\n  \r\nPING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*+1\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*2147483648\r\n",
        b"*2147483647\r\n",
        b"*99999999999999999999\r\n",
        b"*a\r\n",
        b"*\r\n",
        b"* 1\r\n",
        b"*1 \r\n$4\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-2\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$4x\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n:5\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*2\r\n$4\r\nECHO\r\n$-1\r\n",
        b"PING\r\nSET a 1\r\nGET a\r\n*x\r\nPING\r\n",
        b"*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n",
        &long_line,
        &long_count,
        &long_length,
    ]);
}

#[test]
fn d1_inline_commands_are_read_as_redis_reads_them() {
    same_as_redis(&[
        b"PING\r\n",
        b"PING\n",
        b"ping\r\n",
        b"   PING   \r\n",
        b"ECHO \"a b\"\r\n",
        b"ECHO 'a b'\r\n",
        b"ECHO \"\\x41\\n\\r\\t\\a\\b\\\\\\\"\"\r\n",
        b"ECHO 'it\\'s'\r\n",
        b"ECHO \"unbalanced\r\n",
        b"ECHO 'unbalanced\r\n",
        b"ECHO \"a\"b\r\n",
        b"ECHO a\"b\"\r\n",
        b"ECHO \"\"\r\n",
        b"\"PING\"\r\n",
        b"ECHO \"\\xZZ\"\r\n",
        b"SET inline \"a\\x00b\"\r\nGET inline\r\n",
        b"$5\r\nworld\r\n",
        b"+PING\r\n",
        b"PING",
        b"ECHO \ttab\r\n",
        b"SET k v\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nDEL k\r\n",
    ]);
}

#[test]
fn d3_unknown_commands_and_wrong_arity_in_redis_own_words() {
    let long_name = bulk_request(&[vec![b'x'; 1 << 20]]);
    let long_arg = bulk_request(&[b"nosuch".to_vec(), vec![b'y'; 1 << 20], b"z".to_vec()]);
    let many = bulk_request(&vec!["nosuch"; 200]);
    let with = |args: &[&[u8]]| bulk_request(args);
    let inputs: Vec<Vec<u8>> = vec![
        with(&[b"nosuch"]),
        with(&[b"NoSuch", b"a", b"b"]),
        with(&[b""]),
        with(&[b"x\r\n+OK", b"y\r\n+OK"]),
        with(&[b"nul\0byte", b"\0"]),
        with(&[b"it's", b"'quoted'"]),
        long_name,
        long_arg,
        many,
        with(&[b"get"]),
        with(&[b"GET", b"a", b"b"]),
        with(&[b"SET", b"a"]),
        with(&[b"HSET", b"h", b"f"]),
        with(&[b"ECHO"]),
        with(&[b"ECHO", b"a", b"b"]),
        with(&[b"PING", b"a", b"b"]),
        with(&[b"CLIENT"]),
        with(&[b"CLIENT", b"nosuch"]),
        with(&[b"CLIENT", b"GETNAME", b"extra"]),
        with(&[b"COMMAND", b"nosuch"]),
        with(&[b"OBJECT", b"ENCODING"]),
        with(&[b"OBJECT", b"nosuch", b"k"]),
        with(&[b"OBJECT"]),
        with(&[b"XGROUP", b"CREATE"]),
        with(&[b"XGROUP", b"x\r\ny", b"k"]),
        with(&[b"AUTH"]),
        with(&[b"AUTH", b"a", b"b", b"c"]),
        with(&[b"AUTH", b"password"]),
        with(&[b"SELECT"]),
        with(&[b"SELECT", b"x"]),
        with(&[b"SELECT", b"0"]),
        with(&[b"HELLO", b"4"]),
        with(&[b"HELLO", b"x"]),
        with(&[b"HELLO", b"2", b"NOSUCH"]),
        with(&[b"HELLO", b"2", b"AUTH", b"a"]),
        with(&[b"HELLO", b"2", b"SETNAME", b"bad name"]),
        with(&[b"CLIENT", b"SETNAME", b"bad name"]),
        with(&[b"RESET", b"x"]),
        with(&[b"TIME", b"x"]),
        with(&[b"XREAD", b"STREAMS", b"a", b"b", b"0"]),
        with(&[b"ZUNIONSTORE", b"d", b"x", b"a"]),
        with(&[b"EVAL", b"return 1", b"-1"]),
        with(&[b"EVAL", b"return 1", b"5", b"a"]),
        with(&[b"MSET", b"a"]),
        with(&[b"MSET", b"a", b"1", b"b"]),
    ];
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    same_as_redis(&inputs);
}

#[test]
fn d3_no_error_line_can_be_forged() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    for args in [
        vec!["x\r\n+OK"],
        vec!["nosuch", "\r\n+OK\r\n"],
        vec!["CLIENT", "\r\n+OK"],
        vec!["XGROUP", "a\r\nb", "k"],
    ] {
        let reply = client.text(&args);
        assert!(reply.starts_with('-') && !reply[..reply.len() - 2].contains(['\r', '\n']), "{reply:?}");
        assert!(reply.len() < 400, "{} bytes", reply.len());
        assert_eq!(client.text(&["ECHO", "next"]), "$4\r\nnext\r\n");
    }
    let reply = client.call(&[b"\xff\xfe".as_slice(), b"\xff"]);
    assert!(reply.starts_with(b"-ERR unknown command '"), "{}", show(&reply));
}

#[test]
fn d1_a_nul_in_an_inline_line_executes_nothing() {
    // Redis never finds the end of such a line; to answer with an error is as good, to execute it is not
    let cluster = Cluster::start(1);
    for input in [b"SET nul\0 v\r\n".as_slice(), b"SET nul v\0\r\n", b"SET\0nul v\r\n", b"\0SET nul v\r\n"] {
        let got = answer(cluster.client(), input);
        assert!(got.is_empty() || got.starts_with(b"-"), "{}: {}", show(input), show(&got));
        assert_eq!(cluster.client().text(&["EXISTS", "nul"]), ":0\r\n", "{}", show(input));
    }
}

#[test]
fn d2_a_missing_line_break_is_refused_where_redis_would_lose_its_place() {
    let cluster = Cluster::start(1);
    let inputs: [&[u8]; 5] = [
        b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$4\r\nECHO\r\n$1\r\nab\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nab\r\n",
        b"*1\n$4\nPING\n",
        b"*1\r\n$4\nPING\n",
    ];
    for input in inputs {
        let got = answer(cluster.client(), input);
        let text = String::from_utf8_lossy(&got);
        // some of them are merely incomplete until the end; what counts is that nothing was executed
        assert!(got.is_empty() || text.starts_with("-ERR Protocol error: "), "{}: {text:?}", show(input));
        assert_eq!(
            text.matches("\r\n").count(),
            usize::from(!got.is_empty()),
            "one error and the end: {text:?}"
        );
    }
    assert_eq!(cluster.client().text(&["EXISTS", "k"]), ":0\r\n");
}

#[test]
fn d2_earlier_commands_are_answered_first() {
    let cluster = Cluster::start(1);
    let got = answer(cluster.client(), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*1\r\n$4\r\nPINGxx");
    assert_eq!(String::from_utf8_lossy(&got).split_once("\r\n").map(|(first, _)| first), Some("+OK"));
}

#[test]
fn d4_other_protocols_are_closed_at_their_first_line() {
    let cluster = Cluster::start(1);
    let attack = b"SET attacked yes\r\n";
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n";
    // as a hello is when no byte of it happens to be a line break
    let tls_without_line: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let first_lines: [&[u8]; 7] = [
        b"POST / HTTP/1.1\r\n",
        b"post /eval HTTP/1.0\r\n",
        b"Host: localhost:6379\r\n",
        b"PUT / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        tls,
        tls_without_line,
    ];
    for first in first_lines {
        let mut client = cluster.client();
        client.send(first);
        // closed without the client's help
        client.try_send(attack);
        let said = client.rest();
        assert!(!said.windows(3).any(|window| window == b"+OK"), "{}: {}", show(first), show(&said));
    }
    assert_eq!(cluster.client().text(&["EXISTS", "attacked"]), ":0\r\n");
}

#[test]
fn d5_announced_sizes_reserve_nothing_and_disturb_nobody() {
    let cluster = Cluster::start(1);
    let announced: [&[u8]; 4] = [
        b"*2147483647\r\n",
        b"*1048576\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n",
        b"*1048576\r\n$536870912\r\n",
    ];
    let mut silent: Vec<RawClient> = Vec::new();
    let before = resident_bytes();
    for n in 0..200 {
        let mut client = cluster.client();
        client.send(announced[n % announced.len()]);
        silent.push(client);
    }
    let mut neighbour = cluster.client();
    for n in 0..50 {
        assert_eq!(neighbour.text(&["SET", "k", &format!("{n}")]), "+OK\r\n");
    }
    // this process also runs other tests, so the bound is far above the truth and far below what was announced
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after.saturating_sub(before) < 2 << 30, "{before} to {after}");
    }
    silent.iter_mut().for_each(|client| client.expect_silence(Duration::from_millis(1)));
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn d6_before_authentication_little_is_read_and_little_is_told() {
    let cluster = Cluster::start_with(1, |settings| settings.password = Some(Secret::new("secret")));
    let bare = RedisServer::start_with(&["--requirepass", "secret"]);
    let with = |args: &[&str]| bulk_request(args);
    // only what is refused: bytes that a closed server has not read could cost the client its answer
    let eleven = b"*11\r\n".to_vec();
    let long = b"*2\r\n$3\r\nGET\r\n$16385\r\n".to_vec();
    let fits = bulk_request(&[b"GET".to_vec(), vec![b'x'; 16_384]]);
    let inputs = [
        eleven,
        long,
        fits,
        with(&["PING"]),
        with(&["GET", "k"]),
        with(&["ECHO", "x"]),
        with(&["COMMAND"]),
        with(&["CLIENT", "ID"]),
        with(&["SELECT", "0"]),
        with(&["AUTH", "wrong"]),
        with(&["AUTH", "default", "wrong"]),
        with(&["AUTH", "nobody", "secret"]),
        with(&["AUTH", "secret"]),
        with(&["AUTH", "default", "secret"]),
        with(&["HELLO", "2", "AUTH", "default", "wrong"]),
        with(&["RESET"]),
        with(&["QUIT"]),
        [with(&["AUTH", "secret"]), with(&["ECHO", "in"])].concat(),
        [with(&["AUTH", "secret"]), with(&["RESET"]), with(&["ECHO", "out"])].concat(),
        [with(&["AUTH", "secret"]), with(&["AUTH", "wrong"]), with(&["ECHO", "still in"])].concat(),
        b"PING\r\n".to_vec(),
    ];
    let mut differences = Vec::new();
    for input in &inputs {
        let (got, expected) = (answer(cluster.client(), input), answer(bare.client(), input));
        if got != expected {
            differences.push(format!(
                "{}\n    ringway: {}\n    redis:   {}",
                show(input),
                show(&got),
                show(&expected)
            ));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn d8_key_positions_are_those_of_the_server() {
    let cluster = Cluster::start(1);
    let bare = RedisServer::start();
    let (mut through, mut direct) = (cluster.client(), bare.client());
    let commands = [
        "GET k",
        "SET k v EX 10",
        "MSET a 1 b 2",
        "MGET a b c",
        "DEL a b",
        "EVAL script 2 a b c",
        "EVAL script 0 a",
        "EVALSHA sha 1 k",
        "FCALL f 1 k arg",
        "SORT a BY w_* GET # STORE dst",
        "SORT a",
        "XREAD COUNT 2 STREAMS a b 0 0",
        "XREAD BLOCK 0 STREAMS a 0",
        "XREADGROUP GROUP g c STREAMS a b > >",
        "ZUNIONSTORE dst 2 a b WEIGHTS 1 2",
        "ZINTER 2 a b",
        "ZDIFF 1 a",
        "ZMPOP 2 a b MIN",
        "LMPOP 1 a LEFT",
        "SINTERCARD 2 a b LIMIT 1",
        "BITOP AND dst a b",
        "BITFIELD k GET u8 0",
        "OBJECT ENCODING k",
        "XGROUP CREATE k g 0",
        "XINFO STREAM k",
        "GEORADIUS k 0 0 1 km STORE dst",
        "GEORADIUSBYMEMBER k m 1 km STOREDIST dst",
        "GEOSEARCHSTORE dst src FROMMEMBER m BYRADIUS 1 km",
        "COPY a b",
        "RENAME a b",
        "SMOVE a b m",
        "LMOVE a b LEFT RIGHT",
        "RPOPLPUSH a b",
        "PFMERGE d a b",
        "PFCOUNT a b",
        "LCS a b IDX",
        "MIGRATE h 1 k 0 10",
        "MIGRATE h 1 \"\" 0 10 KEYS a b",
        "RESTORE k 0 x",
        "TOUCH a b",
        "ZRANGESTORE d s 0 1",
        "HSET h f v",
        "XADD s * f v",
        "PING",
        "EVAL script 3 a",
        "EVAL script x",
        "ZUNION 0 a",
        "XREAD STREAMS",
        "NOSUCH x",
        "SET",
        "BLPOP a b 0",
        "BZMPOP 0 2 a b MIN",
        "MEMORY USAGE k",
    ];
    for line in commands {
        let words = std::iter::once("COMMAND").chain(std::iter::once("GETKEYS"));
        let args: Vec<String> = words.chain(line.split(' ')).map(|word| word.replace("\"\"", "")).collect();
        assert_eq!(through.text(&args), direct.text(&args), "{line}");
    }
}
