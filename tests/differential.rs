//! Random commands of every data type, transactions and scripts among them: the proxy must answer each as one plain
//! redis-server does, byte for byte, in RESP2 and in RESP3. All keys share a hash tag, so that all have one node.
//!
//! The seed is printed; `RINGWAY_SEED=n` repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::frame::bulk_request;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient, RedisServer};

/// Commands of one run and protocol.
const COMMANDS: usize = 50_000;
/// Most commands that are sent before their replies are read.
const MOST_AT_ONCE: usize = 64;

/// What is drawn from: `{s}` … `{x}` are keys that mostly hold a string, hash, list, set, sorted set, stream; `{v}` a
/// value, `{n}` an integer, `{f}` a float, `{m}` a member or field, `{i}` an index, `{id}` a stream's entry.
const TEMPLATES: &[&str] = &[
    "SET {s} {v}",
    "SET {s} {n}",
    "SET {s} {v} NX GET",
    "SET {s} {v} EX 10000 XX",
    "GET {s}",
    "GETDEL {s}",
    "GETEX {s} PERSIST",
    "GETSET {s} {v}",
    "APPEND {s} {v}",
    "STRLEN {s}",
    "INCR {s}",
    "INCRBY {s} {n}",
    "DECRBY {s} {n}",
    "INCRBYFLOAT {s} {f}",
    "GETRANGE {s} {i} {i}",
    "SETRANGE {s} 3 {v}",
    "SETBIT {s} 7 1",
    "GETBIT {s} {i}",
    "BITCOUNT {s}",
    "BITPOS {s} 1",
    "BITFIELD {s} INCRBY u8 0 {n} GET i5 3",
    "BITOP XOR {s} {s} {s}",
    "LCS {s} {s}",
    "MGET {s} {s} {h}",
    "MSET {s} {v} {s} {n}",
    "MSETNX {s} {v} {s} {n}",
    "DEL {s} {h} {s}",
    "UNLINK {l} {z}",
    "EXISTS {s} {h} {s} {x}",
    "TOUCH {s} {l}",
    "TYPE {s}",
    "RENAME {s} {s}",
    "RENAMENX {l} {l}",
    "COPY {s} {s} REPLACE",
    "EXPIREAT {s} 33177117420",
    "EXPIRETIME {s}",
    "PERSIST {s}",
    "OBJECT ENCODING {s}",
    "PFADD {s} {m} {m}",
    "PFCOUNT {s} {s}",
    "PFMERGE {s} {s}",
    "HSET {h} {m} {v} {m} {n}",
    "HSETNX {h} {m} {v}",
    "HGET {h} {m}",
    "HMGET {h} {m} {m} {m}",
    "HDEL {h} {m}",
    "HEXISTS {h} {m}",
    "HLEN {h}",
    "HSTRLEN {h} {m}",
    "HINCRBY {h} {m} {n}",
    "HINCRBYFLOAT {h} {m} {f}",
    "RPUSH {l} {v} {m}",
    "LPUSH {l} {m}",
    "LPUSHX {l} {m}",
    "LPOP {l}",
    "RPOP {l} 2",
    "LLEN {l}",
    "LRANGE {l} {i} {i}",
    "LRANGE {l} 0 -1",
    "LINDEX {l} {i}",
    "LSET {l} {i} {v}",
    "LINSERT {l} BEFORE {m} {v}",
    "LREM {l} {i} {m}",
    "LTRIM {l} -40 -1",
    "LPOS {l} {m} COUNT 0",
    "LMOVE {l} {l} LEFT RIGHT",
    "RPOPLPUSH {l} {l}",
    "LMPOP 2 {l} {l} LEFT COUNT 2",
    "SORT {l} ALPHA LIMIT 0 5",
    "SADD {t} {m} {m}",
    "SADD {t} {n}",
    "SREM {t} {m}",
    "SCARD {t}",
    "SISMEMBER {t} {m}",
    "SMISMEMBER {t} {m} {m}",
    "SMOVE {t} {t} {m}",
    "SINTERCARD 2 {t} {t}",
    "SINTERSTORE {t} {t} {t}",
    "SUNIONSTORE {t} {t} {t}",
    "SDIFFSTORE {t} {t} {t}",
    "ZADD {z} {f} {m} {n} {m}",
    "ZADD {z} GT CH {f} {m}",
    "ZADD {z} INCR {f} {m}",
    "ZINCRBY {z} {n} {m}",
    "ZREM {z} {m}",
    "ZCARD {z}",
    "ZSCORE {z} {m}",
    "ZMSCORE {z} {m} {m}",
    "ZRANK {z} {m}",
    "ZREVRANK {z} {m}",
    "ZRANGE {z} 0 -1 WITHSCORES",
    "ZRANGE {z} ({n} +inf BYSCORE LIMIT 0 5",
    "ZREVRANGE {z} 0 3",
    "ZRANGEBYSCORE {z} -inf {f} WITHSCORES",
    "ZCOUNT {z} -inf {n}",
    "ZLEXCOUNT {z} - +",
    "ZPOPMIN {z}",
    "ZPOPMAX {z} 2",
    "ZMPOP 2 {z} {z} MAX COUNT 2",
    "ZREMRANGEBYRANK {z} 60 -1",
    "ZUNION 2 {z} {z} WITHSCORES",
    "ZINTER 2 {z} {z} AGGREGATE MAX WITHSCORES",
    "ZDIFF 2 {z} {z} WITHSCORES",
    "ZRANGESTORE {z} {z} 0 3",
    "ZUNIONSTORE {z} 2 {z} {z} WEIGHTS 2 1",
    "GEOADD {z} 13.4 52.5 {m}",
    "GEOPOS {z} {m}",
    "GEODIST {z} {m} {m} km",
    "XADD {x} {id} {m} {v}",
    "XLEN {x}",
    "XRANGE {x} - + COUNT 3",
    "XREVRANGE {x} + - COUNT 2",
    "XREAD COUNT 2 STREAMS {x} {x} 0 0",
    "XDEL {x} {id}",
    "XTRIM {x} MAXLEN 20",
    "XGROUP CREATE {x} g 0 MKSTREAM",
    "XACK {x} g {id}",
    "XINFO STREAM {x}",
    "EVAL \"return {KEYS[1],ARGV[1],redis.call('EXISTS',KEYS[1])}\" 1 {s} {v}",
    "EVAL \"return redis.pcall('INCR',KEYS[1])\" 1 {s}",
    "EVAL \"return {1,{2,'x',false},{ok='fine'},{err='ERR mine'}}\" 0",
    "EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 {s}",
    "GET",
    "SET {s}",
    "HSET {h} {m}",
    "NOSUCHCOMMAND {s}",
    "PING",
    "ECHO {v}",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH {s}",
    "UNWATCH",
];

/// Words of a template; double quotes hold a word with spaces together.
fn words(template: &str) -> Vec<&str> {
    let quoted = template.split('"').enumerate();
    quoted
        .flat_map(|(at, part)| if at % 2 == 0 { part.split_whitespace().collect() } else { vec![part] })
        .collect()
}

fn fill(word: &str, random: &mut Random, tag: &str) -> Vec<u8> {
    // mostly the type that the template means, now and then another one: WRONGTYPE must agree as well
    let key = |kind: &str, random: &mut Random| {
        let kinds = ["s", "h", "l", "t", "z", "x"];
        let kind = if random.below(30) == 0 { kinds[random.below(6)] } else { kind };
        format!("{{{tag}}}{kind}{}", random.below(4)).into_bytes()
    };
    match word {
        "{s}" | "{h}" | "{l}" | "{t}" | "{z}" | "{x}" => key(&word[1..2], random),
        "{v}" => match random.below(8) {
            0 => Vec::new(),
            1 => {
                let len = random.below(300);
                random.bytes(len)
            }
            2 => b"line\r\n+OK\r\n".to_vec(),
            _ => format!("value{}", random.below(100)).into_bytes(),
        },
        "{n}" | "({n}" => {
            let sign = if word.starts_with('(') { "(" } else { "" };
            format!("{sign}{}", random.below(2000) as i64 - 1000).into_bytes()
        }
        "{f}" => format!("{}.{}", random.below(100) as i64 - 50, random.below(100)).into_bytes(),
        "{m}" => format!("m{}", random.below(12)).into_bytes(),
        "{i}" => (random.below(12) as i64 - 4).to_string().into_bytes(),
        "{id}" => format!("{}-{}", random.below(2000), random.below(3)).into_bytes(),
        word => word.as_bytes().to_vec(),
    }
}

fn send(client: &mut RawClient, batch: &[Vec<Vec<u8>>]) {
    let bytes: Vec<u8> = batch.iter().flat_map(|command| bulk_request(command)).collect();
    client.send(&bytes);
}

/// Whether two replies say the same. Two servers that are asked one after the other may count an end in seconds from two
/// sides of a second.
fn is_same(command: &[Vec<u8>], got: &[u8], expected: &[u8]) -> bool {
    let seconds = |reply: &[u8]| -> Option<i64> {
        std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
    };
    let counts = command.first().is_some_and(|name| [&b"EXPIRETIME"[..], b"TTL"].contains(&name.as_slice()));
    let is_near = || Some((seconds(got)? - seconds(expected)?).abs() <= 1 && seconds(got)? > 1);
    got == expected || counts && is_near() == Some(true)
}

#[test]
fn random_commands_are_answered_as_one_server_answers() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = std::env::var("RINGWAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now);
    println!("RINGWAY_SEED={seed}");
    let cluster = Cluster::start(3);
    for protocol in ["2", "3"] {
        let mut random = Random::new(seed);
        let bare = RedisServer::start();
        let (mut through, mut direct) = (cluster.client(), bare.client());
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
        }
        let tag = format!("differential{protocol}");
        let mut done = 0;
        while done < COMMANDS {
            let batch: Vec<Vec<Vec<u8>>> = (0..1 + random.below(MOST_AT_ONCE))
                .map(|_| {
                    let template = TEMPLATES[random.below(TEMPLATES.len())];
                    words(template).into_iter().map(|word| fill(word, &mut random, &tag)).collect()
                })
                .collect();
            send(&mut through, &batch);
            send(&mut direct, &batch);
            for (at, command) in batch.iter().enumerate() {
                let (got, expected) = (through.reply(), direct.reply());
                assert!(
                    is_same(command, &got, &expected),
                    "RINGWAY_SEED={seed}, RESP{protocol}, command {}: {}\n got {}\n not {}",
                    done + at,
                    shown(&command.join(&b' ')),
                    shown(&got),
                    shown(&expected)
                );
            }
            done += batch.len();
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).escape_debug().to_string()
}
