//! Binary keys and values, large values, hash tags.

use crate::support::frame::bulk;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient};

fn set_and_get(client: &mut RawClient, key: &[u8], value: &[u8]) {
    assert_eq!(client.call(&[b"SET", key, value]), b"+OK\r\n");
    let got = client.call(&[b"GET".as_slice(), key]);
    // not assert_eq: a failure must not print megabytes
    assert!(got == bulk(value), "{} bytes came back for {} bytes", got.len(), value.len());
}

#[test]
fn any_bytes_are_keys_and_values() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let mut random = Random::new(1);
    for byte in 0..=255u8 {
        set_and_get(&mut client, &[byte], &[byte, b'\r', b'\n', byte]);
    }
    set_and_get(&mut client, b"", b"");
    set_and_get(&mut client, b"\r\n$5\r\nhello\r\n", b"*1\r\n$4\r\nPING\r\n");
    for _ in 0..200 {
        let (key_len, value_len) = (random.below(300), random.below(3000));
        let (key, value) = (random.bytes(key_len), random.bytes(value_len));
        set_and_get(&mut client, &key, &value);
    }
    for (key, server) in [(b"\0".as_slice(), 0), (b"\xff", 0)].map(|(key, _)| (key, cluster.owner(key))) {
        assert!(cluster.server(&server).call::<bool>(&["EXISTS".as_bytes(), key]));
    }
}

#[test]
fn values_of_every_size_around_a_buffer() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let mut random = Random::new(2);
    for exponent in 9..18 {
        for size in [(1 << exponent) - 2, (1 << exponent) - 1, 1 << exponent, (1 << exponent) + 1] {
            set_and_get(&mut client, format!("size:{size}").as_bytes(), &random.bytes(size));
        }
    }
}

#[test]
fn a_megabyte_and_thirty_two() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for megabytes in [1, 32] {
        let value = Random::new(megabytes).bytes((megabytes as usize) << 20);
        set_and_get(&mut client, b"big", &value);
    }
    let length = client.call(&["STRLEN", "big"]);
    assert_eq!(length, format!(":{}\r\n", 32 << 20).into_bytes());
    assert_eq!(client.call(&["DEL", "big"]), b":1\r\n");
}

#[test]
fn large_values_and_small_ones_in_one_pipeline() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let value = Random::new(3).bytes(300_000);
    for n in 0..6 {
        client.call(&[b"SET".as_slice(), format!("large:{n}").as_bytes(), &value]);
    }
    for n in 0..300 {
        client.send_command(&["GET", &format!("large:{}", n % 6)]);
        client.send_command(&["ECHO", &format!("nonce:{n}")]);
        // read in between now and then, so that neither side waits for the other for ever
        if n % 3 == 2 {
            for m in n - 2..=n {
                assert!(client.reply() == bulk(&value));
                assert_eq!(client.reply(), bulk(format!("nonce:{m}").as_bytes()));
            }
        }
    }
}

#[test]
fn mget_joins_large_values() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let values: Vec<Vec<u8>> = (0..24).map(|n| Random::new(n).bytes(500_000)).collect();
    let keys: Vec<String> = (0..24).map(|n| format!("joined:{n}")).collect();
    let mut mset = vec![b"MSET".to_vec()];
    for (key, value) in keys.iter().zip(&values) {
        mset.extend([key.clone().into_bytes(), value.clone()]);
    }
    assert_eq!(client.call(&mset), b"+OK\r\n");
    let mut expected = b"*24\r\n".to_vec();
    values.iter().for_each(|value| expected.extend(bulk(value)));
    let mut mget = vec!["MGET".to_owned()];
    mget.extend(keys);
    assert!(client.call(&mget) == expected);
}

#[test]
fn hash_tags_keep_keys_together() {
    let cluster = Cluster::start(5);
    let mut client = cluster.client();
    for user in 0..40 {
        let (a, b) = (format!("cart:{{user:{user}}}"), format!("{{user:{user}}}:profile"));
        assert_eq!(cluster.owner(&a), cluster.owner(&b));
        assert_eq!(cluster.owner(&a), cluster.owner(format!("user:{user}")));
        assert_eq!(client.text(&["MSETNX", &a, "1", &b, "2"]), ":1\r\n");
        assert_eq!(client.text(&["RENAME", &a, &b]), "+OK\r\n");
    }
    // the rule of the Cluster specification: the first `{`, the first `}` after it, and something in between
    for (key, hashed) in
        [("{}", "{}"), ("{}{a}", "{}{a}"), ("{{a}}", "{a"), ("a{b", "a{b"), ("x{y}{z}", "y"), ("}{a}", "a")]
    {
        assert_eq!(
            cluster.control().topology().ring().hashed_part(key.as_bytes()),
            hashed.as_bytes(),
            "{key}"
        );
    }
}
